"""Pictures that lack nothing but their end mark: they are read as if they had it.

Pillow reads a PNG, a GIF and others without theirs. A JPEG and a JPEG 2000 it does not, since it could not tell them
from pictures that lack pixels.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import BinaryIO

from vlframe.media.jpeg_scans import unended_at

MARK = b"\xff\xd9"  # of both
JPEG, CODESTREAM, BOXES = b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  "
TILE = b"\xff\x90"


def with_end_mark(path: Path) -> Path | BinaryIO:
    """Return a file with the end mark if that is all that this one lacks; else the path. Raises ``OSError``."""
    with path.open("rb") as file:
        head = file.read(12)
        if not head.startswith((JPEG, CODESTREAM, BOXES)):
            return path
        file.seek(-min(2, path.stat().st_size), io.SEEK_END)
        if file.read() == MARK:
            return path
        file.seek(0)
        content = file.read()
    if head.startswith(JPEG):
        end = unended_at(content)
        return path if end is None else io.BytesIO(content[:end] + MARK)
    return _wavelets(content) or path


def _wavelets(content: bytes) -> BinaryIO | None:
    """Return a JPEG 2000 with its end mark; None if more than that is missing, or it does not say."""
    box = 0 if content.startswith(CODESTREAM) else _box(content)
    if box is None:
        return None
    begin = box if content.startswith(CODESTREAM) else box + 8
    end = len(content) - content.endswith(b"\xff")
    for complete in (len(content), end):  # the last byte may be the first of the mark
        if _has_all_tiles(content, begin, complete):
            length = b"" if begin == box else bytes(4)  # of the box: up to the end of the file
            return io.BytesIO(content[:box] + length + content[box + len(length) : complete] + MARK)
    return None


def _box(content: bytes) -> int | None:
    """Return where the box of the picture begins, if it is the last one."""
    at = 0
    while at + 8 <= len(content):
        length = int.from_bytes(content[at : at + 4], "big")
        if content[at + 4 : at + 8] == b"jp2c":
            return at if length == 0 or at + length >= len(content) else None
        if length < 8:
            return None
        at += length
    return None


def _has_all_tiles(content: bytes, at: int, end: int) -> bool:
    """Return whether the parts of tiles end at ``end``, and are as many as they say (ISO/IEC 15444-1, A.4.2)."""
    size = [int.from_bytes(content[at + 8 + 4 * place : at + 12 + 4 * place], "big") for place in range(8)]
    if not size[4] or not size[5]:
        return False
    tiles = -(-(size[0] - size[6]) // size[4]) * -(-(size[1] - size[7]) // size[5])
    at += 2
    while at < end and content[at : at + 2] != TILE:
        at += 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    parts: dict[int, list[int]] = {}
    while at + 12 <= end and content[at : at + 2] == TILE:
        length = int.from_bytes(content[at + 6 : at + 10], "big")
        if length < 14:
            return False
        parts.setdefault(int.from_bytes(content[at + 4 : at + 6], "big"), []).append(content[at + 11])
        at += length
    return at == end and len(parts) == tiles and all(max(stated) == len(stated) for stated in parts.values())
