"""All rows of a manifest, including bad ones, each with all of its problems."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from vlframe import DataError, Entry, Problem
from vlframe_conversations.manifest import Manifest
from vlframe_conversations.rows import RowReader
from vlframe_conversations.whole_file import SHAPE


def manifest_entries(path: Path, reader: RowReader) -> Iterator[Entry]:
    """Yield every row, in the order of the file, which may be JSON Lines or one JSON array."""
    broken: list[tuple[int, str]] = []
    manifest = Manifest(path, lambda line, reason: broken.append((line, reason)))
    broken = sorted(broken, key=lambda item: item[0])[::-1]  # the first is popped first
    if not len(manifest) and not broken:
        yield Entry(str(path), problems=(Problem("syntax", f"it has no rows; {SHAPE}"),))
    for number in range(len(manifest)):
        while broken and broken[-1][0] < manifest.line(number):
            yield _unreadable(path, *broken.pop())
        yield _entry(manifest, number, reader)
    while broken:
        yield _unreadable(path, *broken.pop())


def _unreadable(path: Path, line: int, reason: str) -> Entry:
    return Entry(f"{path}, line {line}", problems=(Problem("syntax", reason),))


def _entry(manifest: Manifest, number: int, reader: RowReader) -> Entry:
    where = manifest.where(number)
    try:
        row: dict[str, Any] = manifest.row(number)
    except DataError as error:
        return Entry(where, problems=(Problem("syntax", _after(where, error)),))
    unknown: list[str] = []
    try:
        sample = replace(reader, unknown=unknown.append).sample(row, where, manifest.unnamed(number))
        wrong = []
    except DataError as error:
        sample, wrong = None, [Problem("row", _after(where, error))]
    problems = [Problem("unknown_field", _after(where, message)) for message in unknown]
    return Entry(where, sample, (*problems, *wrong))


def _after(where: str, message: object) -> str:
    """Remove the place that a message begins with."""
    return str(message).removeprefix(where).lstrip(":, ")
