"""Finds where a PNG, GIF, WebP or AVIF ends in its file, and what was written behind it (``cat a.webp b.webp``)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from vlframe.media.formats import HEAD, Format, format_of_head


def what_follows(path: Path, kind: str) -> tuple[Format, int] | None:
    """Return the format of the file that begins behind a picture of this kind (Pillow's name), and at which byte; None
    if there is none. Raises ``OSError``.
    """
    with open(path, "rb") as file:
        end = _ENDS[kind](file)
        if end is None:
            return None
        file.seek(end)
        rest = file.read(2 * HEAD)
    blank = len(rest) - len(rest.lstrip(b"\0\r\n"))
    for skipped in (0, *range(max(blank - 3, 1), blank + 1)):  # a film begins with zeros of its own
        known = format_of_head(rest[skipped : skipped + HEAD]) if skipped <= HEAD else None
        if known is not None:
            return known, end + skipped
    return None


def _png(file: BinaryIO) -> int | None:
    file.seek(8)
    while len(head := file.read(8)) == 8:
        file.seek(int.from_bytes(head[:4], "big") + 4, 1)
        if head[4:] == b"IEND":
            return file.tell()
    return None


def _webp(file: BinaryIO) -> int | None:
    size = int.from_bytes(file.read(8)[4:], "little")
    return 8 + size + size % 2


def _avif(file: BinaryIO) -> int | None:
    """Return where a second file-type box begins, or what is no box: its kind would be four letters."""
    at = 0
    while len(head := file.read(16)) >= 8:
        size, kind = int.from_bytes(head[:4], "big"), head[4:8]
        size = int.from_bytes(head[8:], "big") if size == 1 else size
        if at and (kind == b"ftyp" or not all(32 <= letter < 127 for letter in kind)):
            return at
        if size < 8:  # 0: up to the end of the file
            return None
        at += size
        file.seek(at)
    return None


def _gif(file: BinaryIO) -> int | None:
    _colours(file, file.read(13)[10])
    while kind := file.read(1):
        if kind == b";":
            return file.tell()
        if kind == b"!":
            file.seek(1, 1)
        elif kind == b",":
            place = file.read(9)
            if len(place) < 9:
                return None
            _colours(file, place[8])
            file.seek(1, 1)
        else:
            return None
        while size := file.read(1).strip(b"\0"):
            file.seek(size[0], 1)
    return None


def _colours(file: BinaryIO, flags: int) -> None:
    """Skip a table of colours, if there is one."""
    if flags & 0x80:
        file.seek(3 * 2 ** ((flags & 7) + 1), 1)


_ENDS: dict[str, Callable[[BinaryIO], int | None]] = {"PNG": _png, "GIF": _gif, "WEBP": _webp, "AVIF": _avif}
