"""VideoInstruct-100K as published: a JSON array of ``{"video_id", "q", "a"}``, and a folder of clips.

The official script (scripts/convert_instruction_json_to_training_format.py) puts the clip after the question in every
other row and before it in the rest.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vlframe import ConfigError, DataError, Entry, Media, Problem, Sample, Turn, as_words, at_home, some_of

FIELDS = ("video_id", "q", "a")
ORDERS = ("alternate", "after", "before")


class VideoInstruct:
    """One sample for each row. Its id is ``<video_id>/<row number>``, counted from 1."""

    def __init__(self, *, path: str | None, media_root: str | None, order: str) -> None:
        self.file = _file(path, order)
        self.order = order
        self.rows = _rows(self.file)
        self.clips = Clips(self.file, media_root)

    @staticmethod
    def check_parameters(parameters: Mapping[str, Any]) -> None:
        """Raise ConfigError for an unknown order, a file of rows, or a folder of clips, that is not there."""
        _root(_file(parameters["path"], parameters["order"]), parameters["media_root"])

    @classmethod
    def entries(cls, *, path: str | None, media_root: str | None, order: str) -> Iterator[Entry]:
        """Yield every row, including bad ones."""
        file = _file(path, order)
        rows, clips = _rows(file), Clips(file, media_root)
        for number, row in enumerate(rows):
            where = f"{file}, row {number + 1}"
            try:
                yield Entry(where, _sample(row, number, order, clips, where))
            except DataError as error:
                yield Entry(where, problems=(Problem("row", str(error).removeprefix(f"{where}: ")),))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Sample:
        index = range(len(self))[index]
        return _sample(self.rows[index], index, self.order, self.clips, f"{self.file}, row {index + 1}")


class Clips:
    """The files of a folder, by their names without the last suffix."""

    def __init__(self, file: Path, media_root: str | None) -> None:
        self.root = _root(file, media_root)
        self.found: dict[str, list[Path]] = {}
        for path in sorted(self.root.iterdir()):
            if path.is_file() and path.resolve() != file.resolve():
                self.found.setdefault(path.stem, []).append(path)

    def path(self, name: str, where: str) -> Path:
        """Return the clip of this name; if there is none, a path that does not exist, so that the reader reports it."""
        files = self.found.get(name, [])
        if len(files) > 1:
            raise DataError(f"{where}: {self.root} has {some_of([file.name for file in files])} for {name!r}; keep one")
        return files[0] if files else self.root / f"{name}.mp4"


def _file(path: str | None, order: str) -> Path:
    if order not in ORDERS:
        raise ConfigError(f"dataset.order is {order!r}; it can be {', '.join(ORDERS)}")
    if not path:
        raise ConfigError("the data set (video_instruct) has no file; give dataset.path=<VideoInstruct_Dataset.json>")
    file = Path(at_home(path))
    if not file.is_file():
        raise ConfigError(f"dataset.path is {file}, and there is no such file")
    return file


def _root(file: Path, media_root: str | None) -> Path:
    root = Path(at_home(media_root)) if media_root else file.parent
    if not root.is_dir():
        raise ConfigError(f"dataset.media_root is {root}, and there is no such folder; it holds the clips")
    return root


def _rows(file: Path) -> list[Any]:
    try:
        rows = json.loads(file.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise DataError(f"{file} is no JSON: {error}; VideoInstruct is one JSON array of objects") from error
    if not isinstance(rows, list) or not rows:
        raise DataError(f"{file} holds no rows; VideoInstruct is one JSON array of {{video_id, q, a}}")
    return rows


def _sample(row: Any, number: int, order: str, clips: Clips, where: str) -> Sample:
    if not isinstance(row, Mapping) or sorted(row) != sorted(FIELDS):
        has = ", ".join(map(str, row)) if isinstance(row, Mapping) else repr(row)
        raise DataError(f"{where}: a row has the fields {', '.join(FIELDS)}, and this has {has}")
    wrong = [name for name in FIELDS if not isinstance(row[name], str) or not row[name].strip()]
    if wrong:
        raise DataError(f"{where}: {', '.join(wrong)} must be text, and not empty")
    question = as_words(row["q"])
    after = number % 2 == 0 if order == "alternate" else order == "after"
    text = f"{question}\n<video>" if after else f"<video>\n{question}"
    turns = (Turn("user", text), Turn("assistant", row["a"]))
    media = (Media("video", clips.path(row["video_id"], where)),)
    return Sample(f"{row['video_id']}/{number + 1}", turns, media, row["a"])
