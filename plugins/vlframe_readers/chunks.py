"""Compute the bytes that a file's chunks need, for containers that are a chain of chunks.

Each function takes the opened file and its size, and returns the least number of bytes of a complete file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

# Sizes that mean "unknown": zero, all ones, and the largest that programs write to a pipe (2 or 4 GB less a page or a
# header: sox and espeak 0x7FFFF000, arecord 0x80000000, ffmpeg and web services 0xFFFFFFFF; sox's AIFF 0x7F000000 and
# its header).
PAGE, HALF, ALL = 0x1000, 0x80000000, 0xFFFFFFFF
SOX_AIFF = 0x7F000000
EBML, SEGMENT = 0x1A45DFA3, 0x18538067
FLV_TAGS = (8, 9, 18)  # sound, picture, script
REAL_HEAD = 18  # bytes in the header of a RealMedia file's data


def is_unknown(length: int) -> bool:
    """Return whether the length in a RIFF header or a chunk means that its writer did not know it."""
    if SOX_AIFF - 64 <= length <= SOX_AIFF + PAGE:
        return True
    return length == 0 or HALF - PAGE - 64 <= length <= HALF + 64 or length >= ALL - PAGE - 64


def next_box(file: BinaryIO, at: int, size: int) -> tuple[bytes, int | None]:
    """Return the kind of the MP4 box at this position, and its end; None if there is no box."""
    file.seek(at)
    head = file.read(16)
    kind, length = head[4:8], int.from_bytes(head[:4], "big")
    if not kind.isalnum():
        return kind, None
    if length == 1:
        length = int.from_bytes(head[8:16], "big")
    if length < 8:
        return kind, size if length == 0 else None
    return kind, at + length


def riff(file: BinaryIO, size: int) -> int:
    """Measure AVI and WAV: one RIFF chunk, or several in an AVI over 1 GB; a WAV over 4 GB states its size in a chunk
    (RF64). A WAV whose samples are all there is whole: some writers count the eight bytes of its head as well.
    """
    at = 0
    while at + 8 <= size:
        file.seek(at)
        head = file.read(28)
        length = int.from_bytes(head[4:8], "little")
        if head[:4] in (b"RF64", b"BW64") and head[12:16] == b"ds64":
            length = int.from_bytes(head[20:28], "little")
            return 8 + length if 0 < length < 1 << 62 else size
        if head[:4] != b"RIFF" or is_unknown(length):
            break
        if head[8:12] == b"WAVE" and at + 8 + length > size and _has_all_samples(file, at + 12, size):
            return size
        at += 8 + length
        if at < size:
            at += length % 2
    return at


def _wave_chunks(file: BinaryIO, at: int, size: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield the name of each chunk of a WAV, where it begins, and its length. ``at``: the first chunk."""
    while at + 8 <= size:
        file.seek(at)
        head = file.read(8)
        length = int.from_bytes(head[4:], "little")
        yield head[:4], at, length
        at += 8 + length + length % 2


def _has_all_samples(file: BinaryIO, at: int, size: int) -> bool:
    """Return whether the chunk of samples of a WAV ends inside the file. ``at``: its first chunk."""
    for name, place, length in _wave_chunks(file, at, size):
        if name == b"data":
            return length > 0 and place + 8 + length <= size
    return False


def wave_samples(file: BinaryIO, size: int) -> list[int]:
    """Return where the chunks of samples of a WAV begin, of which it is to have one."""
    found = []
    for name, at, length in _wave_chunks(file, 12, size):
        if name == b"RIFF" or not all(32 <= letter < 127 for letter in name):
            break
        if name == b"data":
            found.append(at)
            if is_unknown(length):  # samples up to the end
                break
    return found


def avi_chunks(file: BinaryIO, size: int, stream: int) -> int:
    """Return the number of chunks of a stream in an AVI, empty ones among them: those are dropped frames."""
    at, found = 0, 0
    name = b"%02dd" % stream  # 00dc, 00db
    while at + 8 <= size:
        file.seek(at)
        head = file.read(12)
        if head[:4] == b"RIFF" or (head[:4] == b"LIST" and head[8:12] in (b"movi", b"rec ")):
            at += 12
            continue
        if not all(32 <= letter < 127 for letter in head[:4]):
            break
        length = int.from_bytes(head[4:8], "little")
        at += 8 + length + length % 2
        found += head[:3] == name and at <= size + 1
    return found


def w64(file: BinaryIO, size: int) -> int:
    """Measure W64: the 64-bit size of the file, after 16 bytes that say what it is."""
    file.seek(16)
    length = int.from_bytes(file.read(8), "little")
    return length if 0 < length < 1 << 62 else size


def gif(file: BinaryIO, size: int) -> int:
    """Measure a GIF: a header, blocks of sub-blocks, a semicolon; one without it ends after its last block."""
    file.seek(0)
    data = file.read()
    at = 13 + _palette(data[10:11])
    pictures = 0
    while at < size:
        kind = data[at]
        if kind == 0x3B:
            return at + 1
        if kind == 0x2C:
            at += 11 + _palette(data[at + 9 : at + 10])
            pictures += 1
        elif kind == 0x21:
            at += 2
        else:
            return at if pictures else size + 1  # something was appended
        while at < size and data[at]:
            at += 1 + data[at]
        at += 1
    return at if pictures and at == size else size + 1


def _palette(flags: bytes) -> int:
    """Return the bytes of the colour table that these flags announce."""
    return 3 << (flags[0] & 7) + 1 if flags and flags[0] & 0x80 else 0


def form(file: BinaryIO, size: int) -> int:
    """Measure AIFF: one chunk, with its size in the opposite byte order to RIFF's."""
    file.seek(4)
    length = int.from_bytes(file.read(4), "big")
    return size if is_unknown(length) else 8 + length


def ivf(file: BinaryIO, size: int) -> int:
    """Measure IVF: a header that states its own length, then frames, each after 12 bytes that begin with its size."""
    file.seek(6)
    at = int.from_bytes(file.read(2), "little")
    while at < size:
        file.seek(at)
        at += 12 + int.from_bytes(file.read(4), "little")
    return at


def caf(file: BinaryIO, size: int) -> int:
    """Measure CAF: chunks preceded by four letters and 64 bits of size; -1 means samples up to the end of the file."""
    at = 8
    while at + 12 <= size:
        file.seek(at)
        head = file.read(12)
        length = int.from_bytes(head[4:12], "big", signed=True)
        if length < 0 or head[:4] == b"caff" or not all(32 <= letter < 127 for letter in head[:4]):
            return at
        at += 12 + length
    return at


def sun(file: BinaryIO, size: int) -> int:
    """Measure AU: a header that states its own length and that of the samples (all ones: up to the end of the file)."""
    file.seek(4)
    begin, length = (int.from_bytes(file.read(4), "big") for _ in range(2))
    return begin if is_unknown(length) else begin + length


def wavpack(file: BinaryIO, size: int) -> int:
    """Measure WavPack: blocks that state their size, the first of which has the number of samples."""
    at = 0
    while at + 8 <= size:
        file.seek(at)
        head = file.read(8)
        if head[:4] != b"wvpk":
            return at  # something was appended
        at += 8 + int.from_bytes(head[4:8], "little")
    return at


def y4m(file: BinaryIO, size: int) -> int:
    """Measure Y4M: a header line, then frames of one size, each preceded by a line. Only 8-bit 4:2:0 is checked."""
    file.seek(0)
    line, _, rest = file.read(1 << 12).partition(b"\n")
    words = {word[:1]: word[1:] for word in line.split()[1:]}
    layout = words.get(b"C", b"420")
    if not layout.startswith(b"420") or b"p1" in layout or not {b"W", b"H"} <= words.keys():
        return size
    width, height = int(words[b"W"]), int(words[b"H"])
    frame = len(rest.partition(b"\n")[0]) + 1 + width * height + 2 * ((width + 1) // 2) * ((height + 1) // 2)
    frames = size - len(line) - 1
    return size + -frames % frame


def realmedia(file: BinaryIO, size: int) -> int:
    """Measure RealMedia: chunks after four letters and their size; the data's may be 0, or count its header twice."""
    at = 0
    while at + 8 <= size:
        file.seek(at)
        head = file.read(8)
        length = int.from_bytes(head[4:8], "big")
        if head[:4] not in (b".RMF", b"PROP", b"MDPR", b"CONT", b"DATA", b"INDX") or length < 8:
            return at
        at += length
    return min(at, max(size, at - REAL_HEAD))


def mxf(file: BinaryIO, size: int) -> int:
    """Measure MXF: a chain of keys of 16 bytes, each followed by a length (ISO/IEC 8825-1, short or long)."""
    at = 0
    while at + 17 <= size:
        file.seek(at)
        head = file.read(25)
        if head[:4] != b"\x06\x0e\x2b\x34":
            return at
        first = head[16]
        width = first & 0x7F if first & 0x80 else 0
        if width > 8:
            return at
        length = int.from_bytes(head[17 : 17 + width], "big") if width else first
        at += 17 + width + length
    return at


def matroska(file: BinaryIO, size: int) -> int:
    """Measure Matroska and WebM: the EBML header, then one segment; a live recording leaves its size open."""
    at = 0
    for expected in (EBML, SEGMENT):
        file.seek(at)
        head = file.read(12)
        if int.from_bytes(head[:4], "big") != expected or len(head) < 5:
            return at + 12
        width, length = _ebml_length(head[4:])
        if length is None:
            return _open_segment(file, at + 4 + width, size) if expected == SEGMENT else at
        at += 4 + width + length
    return at


def _open_segment(file: BinaryIO, at: int, size: int) -> int:
    """Measure a segment whose length was left open: elements, each after its name (1-4 bytes) and length (1-8).

    Clusters of a live recording have open lengths as well; what is inside follows.
    """
    while at < size:
        file.seek(at)
        head = file.read(12)
        name = 9 - head[0].bit_length()
        if int.from_bytes(head[:4], "big") == EBML or name > 4:
            return at  # another file, or something that was appended
        if len(head) <= name or not head[name]:
            return at if len(head) > name else size + 1
        width, length = _ebml_length(head[name:])
        at += name + width + (length or 0)
    return at


def _ebml_length(head: bytes) -> tuple[int, int | None]:
    """Return how many bytes an element's length takes, 1-8, and the length; None if it was left open (all ones)."""
    width = 9 - head[0].bit_length()
    length = int.from_bytes(head[:width], "big") & ((1 << 7 * width) - 1)
    return width, None if length == (1 << 7 * width) - 1 else length


def flv(file: BinaryIO, size: int) -> int:
    """Measure FLV: a header of nine bytes and four, then tags: 11 bytes with the length of what follows it, and four
    that repeat it, which may be missing after the last one.
    """
    at = end = 13
    while at + 4 <= size:
        file.seek(at)
        head = file.read(4)
        if head[0] & 0x1F not in FLV_TAGS:
            return min(at, size)  # another file, or something that was appended
        end = at + 11 + int.from_bytes(head[1:4], "big")
        at = end + 4
    return end if end > size else min(at, size)
