"""The data sets of VideoChat's training in their published layouts, and mixtures of them.

Source: dataset/it_dataset.py, dataset/pt_dataset.py, configs/data.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vlframe import (
    ConfigError,
    DataError,
    LayoutMixture,
    Media,
    RowLayout,
    Sample,
    Turn,
    as_words,
    row_fields,
    row_text,
    rows_of_json,
)
from vlframe_videochat.settings import CAPTION

KINDS = ("video", "image")


class Rows(RowLayout):
    """A JSON array; ``kind`` is the medium of its rows, and the name of its field."""

    def __init__(self, **parameters: Any) -> None:
        if parameters["kind"] not in KINDS:
            raise ConfigError(f"dataset.kind is {parameters['kind']!r}; it can be {' or '.join(KINDS)}")
        super().__init__(**parameters)
        self.kind = str(parameters["kind"])

    def read(self) -> Sequence[tuple[str, Any]]:
        return rows_of_json(self.file)

    def media(self, path: Any, where: str) -> tuple[Media, ...]:
        return (Media(self.kind, self.root / row_text(path, self.kind, where)),)


class QA(Rows):
    """``[{"video" or "image", "QA": [{"q", "a"}]}]``; the medium comes before the first question."""

    def sample(self, row: Any, name: str, where: str) -> Sample:
        path, said = row_fields(row, (self.kind, "QA"), where)
        if not isinstance(said, list) or not said:
            raise DataError(f"{where}: 'QA' is a list of questions and answers, not {said!r}")
        turns: list[Turn] = []
        for pair in said:
            asked, told = row_fields(pair, ("q", "a"), where)
            asked, told = as_words(row_text(asked, "q", where)), row_text(told, "a", where)
            turns += [Turn("user", asked if turns else f"<{self.kind}>\n{asked}"), Turn("assistant", told)]
        return Sample(name, tuple(turns), self.media(path, where), turns[-1].text)


class Captions(Rows):
    """``[{"video" or "image", "caption"}]``."""

    def sample(self, row: Any, name: str, where: str) -> Sample:
        path, words = row_fields(row, (self.kind, "caption"), where)
        turns = (Turn("user", f"<{self.kind}>"), Turn("assistant", row_text(words, "caption", where)))
        return Sample(name, turns, self.media(path, where), turns[-1].text, category=CAPTION)


class Mixture(LayoutMixture):
    """The rows of several files, each once in an epoch unless weights are given."""

    layouts = {"videochat_qa": QA, "videochat_captions": Captions}  # noqa: RUF012
    weight = None
