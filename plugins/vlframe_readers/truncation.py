"""Detect files that are shorter than their own structure says.

Decoders silently stop at the end of a truncated file, or invent the rest. The containers below state their sizes up
front, or mark their end. Transport streams, raw streams and MP3 without an Info frame do not, and a fragmented MP4 cut
between two fragments looks complete. Unusual files are not damaged: a size that was unknown when it was written (a
pipe, an interrupted recorder), a missing mark after a complete last piece, bytes after the end.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from vlframe_readers.chunks import (
    EBML,
    caf,
    flv,
    form,
    gif,
    ivf,
    matroska,
    mxf,
    next_box,
    realmedia,
    riff,
    sun,
    w64,
    wavpack,
    y4m,
)

if TYPE_CHECKING:
    from av.container import InputContainer

ISO_BOXES = (b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide", b"pnot")
INDEXES = (b"moov", b"moof", b"meta")

_WALKS: dict[bytes, Callable[[BinaryIO, int], int]] = {
    b"RIFF": riff,
    b"RF64": riff,
    b"BW64": riff,
    b"riff": w64,
    b"GIF8": gif,
    b"FORM": form,
    b"DKIF": ivf,
    b"caff": caf,
    b".snd": sun,
    b"wvpk": wavpack,
    b"YUV4": y4m,
    b".RMF": realmedia,
    b"FLV\x01": flv,
    b"\x06\x0e\x2b\x34": mxf,
}


def beyond_the_end(container: InputContainer, path: Path) -> str | None:
    """Describe what the index of an MP4 or MOV names and the file does not have: its last box may have no size."""
    if not container.format.name.startswith("mov"):
        return None
    size = path.stat().st_size
    last = [stream.index_entries[-1] for stream in container.streams if len(stream.index_entries)]
    needed = max((entry.pos + entry.size for entry in last), default=0)
    return f"it is truncated: it has {size} of at least {needed} bytes" if needed > size else None


def truncation(path: Path) -> str | None:
    """Describe what is missing from the end of the file; None for a file that looks complete or is of another kind."""
    size = path.stat().st_size
    if size == 0:
        return "it is empty (0 bytes)"
    with path.open("rb") as file:
        head = file.read(12)
        walk = _walk_for(head)
        needed = walk(file, size) if walk else size
        if needed > size:
            return f"it is truncated: it has {size} of at least {needed} bytes"
        if needed < 0:
            return "its index (moov) is missing: what wrote it did not finish; tools like untrunc may recover it"
    return None


def _walk_for(head: bytes) -> Callable[[BinaryIO, int], int] | None:
    if head[4:8] in ISO_BOXES:
        return _iso
    if head[:4] == EBML.to_bytes(4, "big"):
        return matroska
    if head[:3] == b"ID3" or (head[0] == 0xFF and head[1:2] > b"\xe0" and head[1] & 0x06):
        return _mp3
    return {b"OggS": _ogg}.get(head[:4]) or _WALKS.get(head[:4])


def _iso(file: BinaryIO, size: int) -> int:
    """Measure MP4 and MOV: a chain of boxes, each after its size (32 bit; 1: a 64-bit size follows; 0: to the end).

    Less than 0 for a file that is complete by that, but has no index.
    """
    at, indexed = 0, False
    while at + 8 <= size:
        kind, following = next_box(file, at, size)
        indexed = indexed or kind in INDEXES
        if following is None or (following > size and kind not in ISO_BOXES):  # not a box: something was appended
            break
        at = following
    return at if indexed or at > size else -1


def _ogg(file: BinaryIO, size: int) -> int:
    """Measure Ogg: a chain of pages of at most 65,307 bytes, the last of which is flagged (RFC 3533, header type 4).

    A recorder that was interrupted omits that flag; then the file must end at the end of a page.
    """
    begin = max(0, size - 2 * 65_307)
    file.seek(begin)
    tail = file.read()
    at = tail.rfind(b"OggS")
    page = tail[at:]
    if at < 0 or len(page) < 27 or len(page) < 27 + page[26]:
        return size + 1
    end = begin + at + 27 + page[26] + sum(page[27 : 27 + page[26]])
    return end if page[5] & 4 or end >= size else size + 1


def _mp3(file: BinaryIO, size: int) -> int:
    """Measure MP3: the Info (or Xing) frame that nearly all encoders write gives the length in bytes from itself."""
    file.seek(0)
    head = file.read(10)
    begin = 0
    if head[:3] == b"ID3":  # four times seven bits
        begin = 10 + sum(byte << 7 * place for byte, place in zip(head[6:10], (3, 2, 1, 0), strict=False))
    file.seek(begin)
    frame = file.read(200)
    at = max(frame.find(b"Info"), frame.find(b"Xing"))
    if at < 0 or len(frame) < at + 16:
        return size
    has_frames, has_bytes = frame[at + 7] & 1, frame[at + 7] & 2
    field = at + 8 + (4 if has_frames else 0)
    return begin + int.from_bytes(frame[field : field + 4], "big") if has_bytes else size
