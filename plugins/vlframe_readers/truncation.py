"""Is a file shorter than its own structure says?

Decoders stop at the end of a truncated file without a word, or invent the rest. The containers below state their
sizes up front, or mark their end. Transport streams, raw streams and MP3 without an Info frame do not, and a fragmented
MP4 cut between two fragments looks whole.
"""

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

ISO_BOXES = (b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide", b"pnot")
EBML, SEGMENT = 0x1A45DFA3, 0x18538067
UNKNOWN_32 = 0xFFFFFFFF


def truncation(path: Path) -> str | None:
    """What is missing from the end of the file, in words; None for a file that looks whole or is of another kind."""
    size = path.stat().st_size
    if size == 0:
        return "it is empty (0 bytes)"
    with path.open("rb") as file:
        head = file.read(12)
        walk = _walk_for(head)
        needed = walk(file, size) if walk else size
    if needed > size:
        return f"it is truncated: it has {size} of at least {needed} bytes"
    return None


def _walk_for(head: bytes) -> Callable[[BinaryIO, int], int] | None:
    if head[4:8] in ISO_BOXES:
        return _iso
    if head[:4] == b"RIFF":
        return _riff
    if head[:4] == EBML.to_bytes(4, "big"):
        return _matroska
    if head[:3] == b"ID3" or (head[0] == 0xFF and head[1:2] > b"\xe0" and head[1] & 0x06):
        return _mp3
    return {b"GIF8": _gif, b"OggS": _ogg, b"FORM": _form, b"DKIF": _ivf}.get(head[:4])


def _iso(file: BinaryIO, size: int) -> int:
    """MP4 and MOV: a chain of boxes, each led by its size (32 bit; 1: a 64-bit size follows; 0: to the end)."""
    at = 0
    while at + 8 <= size:
        file.seek(at)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if not head[4:8].isalnum():  # not a box: something was appended
            return at
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length < 8:
            return size if length == 0 else at
        at += length
    return at


def _riff(file: BinaryIO, size: int) -> int:
    """AVI and WAV: one RIFF chunk, or several in an AVI over 1 GB; a recorder leaves a size of 0 or all ones."""
    at = 0
    while at + 8 <= size:
        file.seek(at)
        head = file.read(8)
        length = int.from_bytes(head[4:8], "little")
        if head[:4] != b"RIFF" or length in (0, UNKNOWN_32):
            break
        at += 8 + length
        if at < size:
            at += length % 2
    return at


def _matroska(file: BinaryIO, size: int) -> int:
    """Matroska and WebM: the EBML header, then a segment with everything; a live recording leaves its size open."""
    at = 0
    for expected in (EBML, SEGMENT):
        file.seek(at)
        head = file.read(12)
        if int.from_bytes(head[:4], "big") != expected or len(head) < 5:
            return at + 12
        width = 9 - head[4].bit_length()
        length = int.from_bytes(head[4 : 4 + width], "big") & ((1 << 7 * width) - 1)
        if length == (1 << 7 * width) - 1:
            return at
        at += 4 + width + length
    return at


def _gif(file: BinaryIO, size: int) -> int:
    """GIF: ends with a semicolon; zeros after it are harmless."""
    file.seek(max(0, size - 64))
    return size if file.read().rstrip(b"\0").endswith(b";") else size + 1


def _ogg(file: BinaryIO, size: int) -> int:
    """Ogg: the last page says that it is the last (RFC 3533, header type 4). A page has at most 65,307 bytes."""
    begin = max(0, size - 65_307)
    file.seek(begin)
    tail = file.read()
    at = tail.rfind(b"OggS")
    page = tail[at:]
    if at < 0 or len(page) < 27 or len(page) < 27 + page[26] or not page[5] & 4:
        return size + 1
    return begin + at + 27 + page[26] + sum(page[27 : 27 + page[26]])


def _form(file: BinaryIO, size: int) -> int:
    """AIFF: one chunk, its size in the other order of bytes than RIFF's."""
    file.seek(4)
    return 8 + int.from_bytes(file.read(4), "big")


def _ivf(file: BinaryIO, size: int) -> int:
    """IVF: a head that says its own length, then frames, each led by 12 bytes that begin with its size."""
    file.seek(6)
    at = int.from_bytes(file.read(2), "little")
    while at < size:
        file.seek(at)
        at += 12 + int.from_bytes(file.read(4), "little")
    return at


def _mp3(file: BinaryIO, size: int) -> int:
    """MP3: the Info (or Xing) frame that nearly all encoders write says how long the sound is, in bytes from itself."""
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
