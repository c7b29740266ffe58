"""Read rows of published csv and JSON files. Errors name the row."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vlframe.errors import ConfigError, DataError, some_of
from vlframe.media.formats import format_of
from vlframe.paths import at_home


def existing_rows(path: str | None, name: str) -> Path:
    """Return the file of a data set. ConfigError if there is none."""
    if not path:
        raise ConfigError(f"the data set ({name}) has no file; give dataset.path=<file>")
    file = Path(at_home(path))
    if not file.exists():
        raise ConfigError(f"dataset.path is {file}, and there is no such file")
    if file.is_file() and (known := format_of(file)) is not None and not known.is_text:
        raise ConfigError(f"dataset.path is {file}, which is {known.name}; it is to be a file of rows that name media")
    return file


def media_folder(said: str | None, default: Path) -> Path:
    """Return the folder that media paths start from. ConfigError if there is none."""
    root = Path(at_home(said)) if said else default
    if not root.is_dir():
        raise ConfigError(f"dataset.media_root is {root}, and there is no such folder; it holds the media")
    return root.absolute()


def rows_of_csv(file: Path, columns: Sequence[str]) -> list[tuple[str, tuple[str, ...]]]:
    """Return the values of these columns of each row, with its place."""
    try:
        with open(file, encoding="utf-8-sig", newline="") as lines:
            reader = csv.reader(lines)
            head = next(reader, [])
            absent = [name for name in columns if name not in head]
            if absent:
                raise DataError(f"{file} has the columns {some_of(head)}, and not {', '.join(absent)}")
            at = [head.index(name) for name in columns]
            found = [(f"{file}, row {number}", row) for number, row in enumerate(reader, 1) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file} is no csv file: {error}") from error
    if not found:
        raise DataError(f"{file} has no rows below its head")
    return [(where, tuple(row[place] if place < len(row) else "" for place in at)) for where, row in found]


def rows_of_json(file: Path, inside: str | None = None) -> list[tuple[str, Any]]:
    """Return the elements of a JSON array, which may be ``inside`` an object."""
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise DataError(f"{file} is no JSON: {error}") from error
    found = content.get(inside) if inside and isinstance(content, Mapping) else None if inside else content
    if not isinstance(found, list) or not found:
        raise DataError(f"{file} holds no rows; it is {f'an object with {inside!r}, ' if inside else ''}an array")
    return [(f"{file}, row {number}", row) for number, row in enumerate(found, 1)]


def row_fields(row: Any, names: Sequence[str], where: str, also: Sequence[str] = ()) -> list[Any]:
    """Return the values of a row that has these fields, and no others except ``also``."""
    if not isinstance(row, Mapping) or set(row) - {*also} != set(names):
        has = ", ".join(map(str, row)) if isinstance(row, Mapping) else repr(row)
        raise DataError(f"{where}: a row has the fields {', '.join(names)}, and this has {has}")
    return [row[name] for name in names]


def row_text(value: Any, name: str, where: str) -> str:
    """Return a value that must be text. DataError unless it is, and not empty."""
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{where}: {name!r} is text, and not empty; this is {value!r}")
    return value
