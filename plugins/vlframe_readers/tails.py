"""Find tags and zeros after and inside the content of a file, which a decoder would take for content."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from vlframe_readers.chunks import EBML, matroska, wavpack

ID3V1, APE, LYRICS = b"TAG", b"APETAGEX", b"LYRICS200"
LOOK = 1 << 16  # bytes of zeros that are skipped


def spans(path: Path) -> list[tuple[int, int]] | None:
    """Return the parts of a file that are sound, as ``(begin, end)``; None: all of it."""
    end = content_end(path)
    size = path.stat().st_size
    inner = list(_inner_tags(path, end or size))
    if end is None and not inner:
        return None
    borders = [0, *(at for tag in inner for at in tag), end or size]
    return list(zip(borders[::2], borders[1::2], strict=True))


def _inner_tags(path: Path, size: int) -> Iterator[tuple[int, int]]:
    """Yield the tags between the frames of an MP3 that was made of several (``cat a.mp3 b.mp3``), ascending."""
    with path.open("rb") as file:
        head = file.read(4)
        if size < 256 or not (head[:3] == b"ID3" or _begins_frame(head)):
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if not _begins_frame(content[(at := _id3_end(content, 0)) : at + 4]):
                return  # AAC, FLAC: read whole as they are
            while (begin := _next_tag(content, at, size)) is not None:
                at = begin
                while (end := _tag_end(content, at)) > at:
                    at = end
                if _begins_frame(content[at : at + 4]) and at < size:
                    yield begin, at
                else:
                    at = begin + 1


def _next_tag(content: mmap.mmap, at: int, size: int) -> int | None:
    found = [content.find(mark, at, size) for mark in (b"ID3", ID3V1, APE)]
    return min((place for place in found if place > 0), default=None)


def _tag_end(content: mmap.mmap, at: int) -> int:
    """Return where the tag ends that begins here; ``at`` if none does."""
    if content[at : at + 3] == ID3V1:
        return at + 128
    if content[at : at + 8] == APE:
        return at + 32 + (int.from_bytes(content[at + 12 : at + 16], "little") if content[at + 23] & 0x20 else 0)
    return _id3_end(content, at)


def _id3_end(content: mmap.mmap, at: int) -> int:
    """Return the end of an ID3v2 tag: ten bytes, four of them its length of seven bits each."""
    head = content[at : at + 10]
    if head[:3] != b"ID3" or len(head) < 10 or head[3] > 4 or max(head[6:]) > 0x7F:
        return at
    return at + 10 + sum(byte << 7 * (3 - place) for place, byte in enumerate(head[6:]))


def _begins_frame(head: bytes) -> bool:
    """Return whether these are the first bytes of a frame of MPEG audio: a valid layer, bit rate and rate."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return False
    return bool(head[1] & 0x06) and head[1] & 0x18 != 0x08 and head[2] >> 4 not in (0, 15) and head[2] & 0x0C != 0x0C


def content_end(path: Path) -> int | None:
    """Return the end of the sound in a chain of frames (MP3, AAC, FLAC, WavPack), if tags or zeros follow, or of
    a Matroska file that zeros follow; else None.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(4)
        if head == EBML.to_bytes(4, "big"):
            end = matroska(file, size)
            return end if 0 < end < size and _only_zeros(file, end) else None
        if head == b"wvpk":
            end = wavpack(file, size)
        elif head == b"fLaC" or head[:3] == b"ID3" or (head[0] == 0xFF and head[1] & 0xE0 == 0xE0):
            end = _without_tags(file, size)
        else:
            return None
    return end if 0 < end < size else None


def _only_zeros(file: BinaryIO, at: int) -> bool:
    """Return whether nothing but zeros follows; files are made longer with them by programs that load them."""
    file.seek(at)
    return all(not any(piece) for piece in iter(lambda: file.read(LOOK), b""))


def _without_tags(file: BinaryIO, size: int) -> int:
    end = size
    while end > 0:
        before = _without_zeros(file, _without_tag(file, end))
        if before == end:
            return end
        end = before
    return end


def _without_tag(file: BinaryIO, end: int) -> int:
    file.seek(max(0, end - 128))
    tail = file.read(min(end, 128))
    if len(tail) == 128 and tail[:3] == ID3V1:
        return end - 128
    if tail[-32:-24] == APE:
        with_head = 32 if tail[-9] & 0x80 else 0
        return end - int.from_bytes(tail[-20:-16], "little") - with_head
    if tail.endswith(LYRICS) and tail[-15:-9].isdigit():
        return end - 15 - int(tail[-15:-9])
    return end


def _without_zeros(file: BinaryIO, end: int) -> int:
    """Skip long runs of zeros; a frame of sound may end with a few."""
    begin = max(0, end - LOOK)
    file.seek(max(begin, 0))
    tail = file.read(max(end - begin, 0))
    kept = len(tail.rstrip(b"\0"))
    return begin + kept if len(tail) - kept >= 64 else end
