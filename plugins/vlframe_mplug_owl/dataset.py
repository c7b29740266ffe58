"""The JSON Lines of mPLUG-Owl: ``{"image": ["1.jpg"], "text": "…\\nHuman: <image>\\nHuman: …\\nAI: …"}``.

Source: pipeline/data_utils/xgpt3_dataset.py. The n-th ``<image>`` (``<|video|>``) of the text is the n-th of ``image``
(``video``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vlframe import TAGS, ConfigError, DataError, Entry, Media, Problem, Sample, Turn, as_words, at_home, did_you_mean

FIELDS = ("image", "video", "text")
OFFICIAL_TAGS = {"<image>": "image", "<|video|>": "video"}
TAG = re.compile("(" + "|".join(map(re.escape, OFFICIAL_TAGS)) + ")")
SPEAKER = re.compile(r"(?:^|\n)(Human|AI): ?")
ROLES = {"Human": "user", "AI": "assistant"}


class JsonLines:
    """One sample for each line. Its id is ``<file stem>/<line number>``. Empty lines are ignored."""

    def __init__(self, *, path: str | None, media_root: str | None, ignore_fields: Sequence[str]) -> None:
        self.file = _file(path)
        self.root = _root(self.file, media_root)
        self.ignored = tuple(ignore_fields)
        self.lines = _lines(self.file)

    @staticmethod
    def check_parameters(parameters: Mapping[str, Any]) -> None:
        """Raise ConfigError for a file of rows, or a folder of media, that is not there."""
        _root(_file(parameters["path"]), parameters["media_root"])

    @classmethod
    def entries(cls, *, path: str | None, media_root: str | None, ignore_fields: Sequence[str]) -> Iterator[Entry]:
        """Yield every line, including bad ones."""
        data = cls(path=path, media_root=media_root, ignore_fields=ignore_fields)
        for index, (number, _) in enumerate(data.lines):
            where = f"{data.file}, line {number}"
            try:
                yield Entry(where, data[index])
            except DataError as error:
                yield Entry(where, problems=(Problem("row", str(error).removeprefix(f"{where}: ")),))

    def __len__(self) -> int:
        return len(self.lines)

    def __getitem__(self, index: int) -> Sample:
        number, line = self.lines[range(len(self))[index]]
        return sample(line, f"{self.file.stem}/{number}", self.root, self.ignored, f"{self.file}, line {number}")


def sample(line: str, name: str, root: Path, ignored: Sequence[str], where: str) -> Sample:
    """Return a line as a sample. DataError names what is inconsistent."""
    try:
        row = json.loads(line)
    except ValueError as error:
        raise DataError(f"{where}: no JSON object: {error}") from error
    if not isinstance(row, Mapping):
        raise DataError(f"{where}: a JSON object with {', '.join(FIELDS)} is expected, not {row!r}")
    unknown = [key for key in row if key not in FIELDS and key not in ignored]
    if unknown:
        raise DataError(
            f"{where}: unknown field {unknown[0]!r}{did_you_mean(unknown[0], FIELDS)}; known are {', '.join(FIELDS)}, "
            "and dataset.ignore_fields names those that are not read"
        )
    text = row.get("text")
    if not isinstance(text, str):
        raise DataError(f"{where}: 'text' is the conversation in one text, not {text!r}")
    files = {kind: _paths(row.get(kind), kind, where) for kind in ("image", "video")}
    turns, kinds = _turns(text, where)
    for kind, paths in files.items():
        if kinds.count(kind) != len(paths):
            raise DataError(f"{where}: the text has {kinds.count(kind)} tags for {len(paths)} files in {kind!r}")
    rest = {kind: iter(paths) for kind, paths in files.items()}
    media = tuple(Media(kind, root / next(rest[kind])) for kind in kinds)
    return Sample(name, turns, media, turns[-1].text)


def _turns(text: str, where: str) -> tuple[tuple[Turn, ...], list[str]]:
    """Return the turns, joining consecutive lines of one speaker, and the kinds of the media in them."""
    first, *spoken = SPEAKER.split(text)
    turns: list[Turn] = [Turn("system", first.strip("\n"))] if first.strip() else []
    kinds: list[str] = []
    for name, words in zip(spoken[::2], spoken[1::2], strict=True):
        if ROLES[name] == "user":
            pieces = TAG.split(words)
            kinds += [OFFICIAL_TAGS[piece] for piece in pieces[1::2]]
            words = "".join(
                TAGS[OFFICIAL_TAGS[piece]] if number % 2 else as_words(piece) for number, piece in enumerate(pieces)
            )
        if turns and turns[-1].role == ROLES[name] == "user":
            turns[-1] = Turn("user", f"{turns[-1].text}\n{words}")
        else:
            turns.append(Turn("user" if ROLES[name] == "user" else "assistant", words))
    if not turns or turns[-1].role != "assistant":
        raise DataError(f"{where}: the conversation must end with an answer, a line that begins with 'AI: '")
    return tuple(turns), kinds


def _paths(value: Any, kind: str, where: str) -> list[str]:
    paths = [value] if isinstance(value, str) else value or []
    if not isinstance(paths, list) or not all(isinstance(path, str) and path for path in paths):
        raise DataError(f"{where}: {kind!r} is a path or a list of paths, not {value!r}")
    return paths


def _file(path: str | None) -> Path:
    if not path:
        raise ConfigError("the data set (mplug_owl) has no file; give dataset.path=<file of JSON Lines>")
    file = Path(at_home(path))
    if not file.is_file():
        raise ConfigError(f"dataset.path is {file}, and there is no such file")
    return file


def _root(file: Path, media_root: str | None) -> Path:
    root = Path(at_home(media_root)) if media_root else file.parent
    if not root.is_dir():
        raise ConfigError(f"dataset.media_root is {root}, and there is no such folder")
    return root.absolute()


def _lines(file: Path) -> list[tuple[int, str]]:
    """Return the lines that are not empty, numbered from 1."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is no UTF-8: {error}") from error
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise DataError(f"{file} has no lines")
    return lines
