"""Fills in sizes that a writer to a pipe left open, in formats that FFmpeg does not read without them.

A program that writes to a pipe cannot go back to its header. FFmpeg itself reads such WAV, AU, CAF, AVI and Matroska
files up to their end; in AIFF, W64 and RF64 it takes the placeholder for a size.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal

W64 = b"riff\x2e\x91\xcf\x11"
LONGEST = 1 << 62  # bytes; a 64-bit size above it is a placeholder (all ones)
CHUNKS = 64  # of a header; more are no header


def open_sizes(path: Path) -> dict[int, bytes]:
    """Return the fields of the header that were left open, by their position, as a complete file would have them.

    Empty for files that state their sizes, and for other formats. Raises ``OSError``.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(40)
        if head[:4] == b"FORM" and head[8:11] == b"AIF" and not any(head[4:8]):
            return _aiff(file, size)
        if head[:8] == W64 and int.from_bytes(head[16:24], "little") >= LONGEST:
            return _w64(file, size)
        if head[:4] in (b"RF64", b"BW64") and head[12:16] == b"ds64" and _is_open(head[20:28]):
            return _rf64(file, size)
    return {}


def _is_open(field: bytes) -> bool:
    return not 0 < int.from_bytes(field, "little") < LONGEST


def _aiff(file: BinaryIO, size: int) -> dict[int, bytes]:
    for at, name in _chunks(file, size, "big"):
        if name == b"SSND":
            return {4: _big(size - 8), at + 4: _big(size - at - 8)}
    return {}


def _w64(file: BinaryIO, size: int) -> dict[int, bytes]:
    """Walk chunks of 16 bytes that say what it is, 8 of size (these 24 with it), and filling to a multiple of 8."""
    at = 40
    for _ in range(CHUNKS):
        file.seek(at)
        head = file.read(24)
        if head[:4] == b"data" or len(head) < 24:
            break
        at += -(-max(int.from_bytes(head[16:], "little"), 24) // 8) * 8
    return {16: size.to_bytes(8, "little"), at + 16: (size - at).to_bytes(8, "little")} if at < size else {}


def _rf64(file: BinaryIO, size: int) -> dict[int, bytes]:
    for at, name in _chunks(file, size, "little"):
        if name == b"data":
            return {20: (size - 8).to_bytes(8, "little") + (size - at - 8).to_bytes(8, "little")}
    return {}


def _big(length: int) -> bytes:
    return min(length, 0xFFFFFFFF).to_bytes(4, "big")


def _chunks(file: BinaryIO, size: int, order: Literal["big", "little"]) -> Iterator[tuple[int, bytes]]:
    """Yield position and name of the chunks after the first twelve bytes, up to the end of the file."""
    at = 12
    for _ in range(CHUNKS):
        file.seek(at)
        head = file.read(8)
        if len(head) < 8 or at >= size:
            return
        length = int.from_bytes(head[4:], order)
        yield at, head[:4]
        at += 8 + length + length % 2
