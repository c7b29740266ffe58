"""Detect files of sound or film after which another one of their kind was written (``cat a.wav b.wav``).

FFmpeg stops after the first one, or takes the second one's header for its content. Formats that are chains of frames
without a header that counts them (FLAC, AAC, Ogg, MPEG, AVI) are read whole, and are not listed here.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from vlframe_readers.chunks import caf, flv, form, matroska, next_box, sun, w64, wave_samples

ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
W64 = b"riff\x2e\x91\xcf\x11"
WAVPACK_FIRST = 0x800
TS_SYNC, TS_PACKET, TS_TIME = 0x47, 188, 4
BETWEEN = 1 << 12  # bytes of tags and filling between the two, at most


def appended(path: Path) -> str | None:
    """Describe the file of the same kind that follows this one, or samples that follow others; None if there is
    neither.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(16)
        if head[:4] == b"RIFF" and head[8:12] == b"WAVE" and len(places := wave_samples(file, size)) > 1:
            return (
                f"its samples are in {len(places)} chunks (the second one begins at byte {places[1]} of {size}), of "
                "which only the first would be read; write it again with one chunk"
            )
        for magic, end in ENDS.items():
            if head.startswith(magic):
                at = end(file, size)
                return None if at is None else _described(file, magic, at, size)
        if head[4:8] == b"ftyp":
            at = _second_film(file, size)
            return None if at is None else _text(at, size)
    return None


def _described(file: BinaryIO, magic: bytes, at: int, size: int) -> str | None:
    if not 0 < at < size:
        return None
    file.seek(at)
    begin = file.read(BETWEEN + len(magic)).find(magic)
    return None if begin < 0 else _text(at + begin, size)


def _text(at: int, size: int) -> str:
    return (
        f"it is several files one after the other (the second one begins at byte {at} of {size}), of which only the "
        "first would be read; join them with ffmpeg (-f concat), or split them"
    )


def _wave(file: BinaryIO, size: int) -> int | None:
    """Return where a WAVE file ends by its header; None for AVI, another kind of RIFF, which is read whole."""
    file.seek(0)
    head = file.read(12)
    return 8 + int.from_bytes(head[4:8], "little") if head[8:12] == b"WAVE" else None


def _wavpack(file: BinaryIO, size: int) -> int:
    """Return where the blocks end, or begin anew: with a number that is not above that of the one before."""
    at, before = 0, -1
    while at + 32 <= size:
        file.seek(at)
        head = file.read(28)
        number, flags = int.from_bytes(head[16:20], "little"), int.from_bytes(head[24:28], "little")
        if head[:4] != b"wvpk":
            return at
        if flags & WAVPACK_FIRST and number <= before:  # of the blocks of one moment, one for some of its channels
            return at
        at, before = at + 8 + int.from_bytes(head[4:8], "little"), number
    return at


def _ivf(file: BinaryIO, size: int) -> int:
    """Return where the frames end, or another header stands in the place of one."""
    file.seek(6)
    at = int.from_bytes(file.read(2), "little")
    while at + 12 <= size:
        file.seek(at)
        head = file.read(4)
        if head == b"DKIF":
            break
        at += 12 + int.from_bytes(head, "little")
    return at


def _y4m(file: BinaryIO, size: int) -> int | None:
    """Return where a header stands that is no frame's; ``chunks.y4m`` knows how long those are."""
    file.seek(0)
    begin = len(file.readline())
    first = len(file.readline())
    length = file.read(1 << 26).find(b"FRAME")
    at, step = begin, first + length
    while length >= 0 and at + step <= size:
        file.seek(at)
        if file.read(5) != b"FRAME":
            return at
        at += step
    return at


def _tta(file: BinaryIO, size: int) -> int:
    """Add up a header, a table with the length of each frame, and the frames, of 256/245 s each."""
    file.seek(10)
    rate, samples = (int.from_bytes(file.read(4), "little") for _ in range(2))
    frames = -(-samples // max(256 * rate // 245, 1))
    file.seek(22)
    lengths = file.read(4 * frames)
    return 26 + 4 * frames + sum(int.from_bytes(lengths[at : at + 4], "little") for at in range(0, len(lengths), 4))


def _asf(file: BinaryIO, size: int) -> int:
    """Walk objects: 16 bytes that say what it is, and 8 of length."""
    at = 0
    while at + 24 <= size:
        file.seek(at)
        head = file.read(24)
        length = int.from_bytes(head[16:], "little")
        if (at and head[:16] == ASF) or length < 24:
            break
        at += length
    return at


def joint(path: Path) -> str | None:
    """Describe the transport streams that were put one after the other, by counters that begin anew; None if none do.

    A writer counts the packets of each table and stream from 0 (modulo 16, ISO/IEC 13818-1, 2.4.3.3). The whole file is
    read, so this is for one that a decoder has found a gap in.
    """
    data = np.memmap(path, np.uint8, "r")
    width = TS_PACKET if data[0] == TS_SYNC else TS_PACKET + TS_TIME  # with a time before each, as cameras write it
    packets_PB = data[: len(data) // width * width].reshape(-1, width)[:, width - TS_PACKET :]
    is_table_P = (packets_PB[:, 1] & 0x1F == 0) & (packets_PB[:, 2] == 0)  # the table of programs, which begins each
    places = np.flatnonzero(is_table_P)
    counters = packets_PB[places, 3] & 0xF
    anew = places[1:][(counters[1:] == 0) & (counters[:-1] != 0xF)]
    if not len(anew):
        return None
    return (
        f"it is {len(anew) + 1} transport streams one after the other (the second one begins near byte "
        f"{anew[0] * width} of {len(data)}) whose counters begin anew, so that a loss between them cannot be told from "
        "a joint; join them with ffmpeg (-f concat)"
    )


def _second_film(file: BinaryIO, size: int) -> int | None:
    """Return where a second head of MP4 or MOV stands; None in streams, where every piece may have one."""
    at, second = 0, None
    while at + 8 <= size:
        kind, following = next_box(file, at, size)
        if kind == b"moof":
            return None
        if kind == b"ftyp" and at and second is None:
            second = at
        if following is None:
            break
        at = following
    return second


ENDS: dict[bytes, Callable[[BinaryIO, int], int | None]] = {
    b"RIFF": _wave,
    b"FORM": form,
    W64: w64,
    b"caff": caf,
    b".snd": sun,
    b"wvpk": _wavpack,
    b"DKIF": _ivf,
    b"YUV4MPEG2": _y4m,
    b"TTA1": _tta,
    b"FLV\x01": flv,
    ASF: _asf,
    b"\x1a\x45\xdf\xa3": matroska,
}
