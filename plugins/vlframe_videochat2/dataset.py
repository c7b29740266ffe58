"""The data of VideoChat2's training in the layouts it is published in, and several files of it as one.

Source: dataset/it_dataset*.py, dataset/pt_dataset.py, configs/instruction_data.py, configs/data.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from vlframe import DataError, LayoutMixture, Media, RowLayout, Sample, Turn, as_words, row_text, rows_of_json
from vlframe_videochat2.settings import CAPTION

KINDS = ("video", "image")


class Rows(RowLayout):
    """A JSON array whose rows say by a field, ``video`` or ``image``, which medium they are about."""

    def read(self) -> Sequence[tuple[str, Any]]:
        return rows_of_json(self.file)

    def name(self, name: str) -> str:
        """Return an id that tells files apart: most are called train.json, in a folder of their own."""
        return f"{self.file.parent.name}/{name}"

    def media(self, row: Mapping[str, Any], where: str, *, optional: bool = False) -> tuple[Media, ...]:
        """Return the row's medium; with ``optional``, none if it has no such field."""
        kinds = [kind for kind in KINDS if kind in row]
        if len(kinds) != 1 and not (optional and not kinds):
            raise DataError(f"{where}: a row has one of the fields {' and '.join(KINDS)}, and this has "
                            f"{' and '.join(kinds) or 'neither'}")  # fmt: skip
        bounds = [_second(row.get(name), name, where) for name in ("start", "end")]
        if None in bounds:  # both or none, as in the official code
            bounds = [None, None]
        return tuple(Media(kind, self.root / row_text(row[kind], kind, where), *bounds) for kind in kinds)


class Instructions(Rows):
    """``[{"video": file, "QA": [{"i", "q", "a"}], "start", "end"}]``.

    The medium comes before the first question, the instruction ``i`` of the first pair is a system turn. A question may
    be empty: the answer is then a caption. Rows with only ``QA`` are conversations without media.
    """

    def sample(self, row: Any, name: str, where: str) -> Sample:
        row = _checked(row, {*KINDS, "QA", "start", "end"}, "QA", where)
        media = self.media(row, where, optional=True)
        pairs = row["QA"]
        if not isinstance(pairs, list) or not pairs:
            raise DataError(f"{where}: 'QA' must be a list of questions and answers, not {pairs!r}")
        pairs = [_checked(pair, {"i", "q", "a"}, "a", where) for pair in pairs]
        if self.parameters["shuffle"]:
            Random(self.name(name)).shuffle(pairs)
        tag = f"<{media[0].kind}>\n" if media else ""
        told = pairs[0].get("i", "")
        turns = [Turn("system", _words(told, "i", where))] if told else []
        for pair in pairs:
            asked = tag + as_words(_words(pair.get("q", ""), "q", where))
            turns += [Turn("user", asked), Turn("assistant", row_text(pair["a"], "a", where))]
            tag = ""
        return Sample(self.name(name), tuple(turns), media, turns[-1].text)


class Captions(Rows):
    """``[{"video" or "image": file, "caption"}]``."""

    def sample(self, row: Any, name: str, where: str) -> Sample:
        row = _checked(row, {*KINDS, "caption"}, "caption", where)
        media = self.media(row, where)
        turns = (Turn("user", f"<{media[0].kind}>"), Turn("assistant", row_text(row["caption"], "caption", where)))
        return Sample(self.name(name), turns, media, turns[-1].text, category=CAPTION)


class Mixture(LayoutMixture):
    """Several files, each row once in a pass over all of them."""

    layouts = {"videochat2_qa": Instructions, "videochat2_captions": Captions}  # noqa: RUF012
    weight = None


def _checked(row: Any, known: set[str], needed: str, where: str) -> Mapping[str, Any]:
    """Raise DataError for what is not an object, has unknown fields, or lacks one."""
    if not isinstance(row, Mapping) or needed not in row or set(row) - known:
        has = ", ".join(map(str, row)) if isinstance(row, Mapping) else repr(row)
        raise DataError(f"{where}: the fields are {', '.join(sorted(known))}, {needed!r} among them; this has {has}")
    return row


def _words(value: Any, name: str, where: str) -> str:
    if not isinstance(value, str):
        raise DataError(f"{where}: {name!r} must be text, not {value!r}")
    return value


def _second(value: Any, name: str, where: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DataError(f"{where}: {name!r} must be a number of seconds, not {value!r}")
    return float(value)
