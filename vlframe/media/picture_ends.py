"""Finds where a PNG, GIF, WebP or AVIF ends in its file, and what was written after it (``cat a.webp b.webp``).

Also tells Motion JPEG, a film of whole pictures, from a photo: cameras write pictures after one, too.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from vlframe.media.formats import HEAD, Format, format_of_head

NEXT_JPEG = re.compile(rb"\xff\xd9(?=\xff\xd8\xff)")  # the end of a picture, and the beginning of another
SEGMENT = re.compile(rb"\xff+([\x01-\xfe])(..)", re.DOTALL)
FRAME = (*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0))  # markers that state a size
LEAST_FILM = 3  # pictures


def motion_jpeg(path: Path) -> int:
    """Return the number of pictures in a JPEG that others of its size follow at once; 1 for a photo, after which a
    camera may have put a preview or a second view. Raises ``OSError``.
    """
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        begins = [0, *(found.end() for found in NEXT_JPEG.finditer(content))]
        if len(begins) < LEAST_FILM:
            return 1
        sizes = [_jpeg_size(content, at) for at in begins]
        alike = [size for size in sizes if size == sizes[0]]
        return len(alike) if sizes[0] and len(alike) >= LEAST_FILM else 1


def _jpeg_size(content: mmap.mmap, at: int) -> bytes:
    """Return the bytes that state height and width of the JPEG that begins here; b"" if it has none."""
    at += 2
    while found := SEGMENT.match(content, at):
        if found[1][0] in FRAME:
            return content[found.end() + 1 : found.end() + 5]
        at = found.end() - 2 + int.from_bytes(found[2], "big")
    return b""


def what_follows(path: Path, kind: str) -> tuple[Format, int] | None:
    """Return the format of the file that begins after a picture of this kind (Pillow's name), and at which byte; None
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
