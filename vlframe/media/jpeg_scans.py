"""Decide whether the entropy-coded data of a JPEG without its end mark holds every pixel (ITU-T T.81, annexes F and G).

Codes are followed and their bits counted; no coefficient is computed. Nothing after the data is needed for the last
code, so a scan is complete exactly if its last code ends inside the data.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

SEQUENTIAL, PROGRESSIVE = (0xC0, 0xC1), 0xC2  # frames with Huffman codes; others are not followed
OTHER_FRAMES = (0xC3, *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0))
TABLES, SCAN, INTERVAL, END = 0xC4, 0xDA, 0xDD, 0xD9
MARKER = re.compile(rb"\xff+([\x01-\xcf\xd8-\xfe])")  # that ends a scan
RESTART = re.compile(rb"\xff+[\xd0-\xd7]")
PAST = 1 << 40  # bits; of a code that does not exist
BLOCK = 64  # coefficients
REMEMBERED = 16  # tables; most encoders always use the same


@dataclass
class _Component:
    across: int
    down: int
    widths: int = 0  # blocks of the component, in a scan that codes no other
    heights: int = 0
    nonzero: bytearray = field(default_factory=bytearray)  # of all its coefficients so far
    missing: list[int] = field(default_factory=lambda: [16] * BLOCK)  # bits of each coefficient that are still to come


@dataclass(frozen=True)
class _Code:
    """A Huffman table: for each 16 bits, the length of the code they begin with and its symbol."""

    length: list[int]
    symbol: list[int]


class _Bits:
    """The bits of one restart interval; zeros follow them. ``at`` is the position, and may pass ``end``."""

    def __init__(self, data: bytes) -> None:
        plain = data.replace(b"\xff\0", b"\xff")
        self.at, self.end = 0, 8 * len(plain)
        bytes_N = np.frombuffer(plain + bytes(8), np.uint8).astype(np.uint32)
        words_N = bytes_N[:-3] << 24 | bytes_N[1:-2] << 16 | bytes_N[2:-1] << 8 | bytes_N[3:]
        self._words = words_N.data

    def next16(self) -> int:
        if self.at > self.end:
            raise _PastEnd
        return self._words[self.at >> 3] >> (16 - (self.at & 7)) & 0xFFFF

    def symbol(self, code: _Code) -> int:
        found = self.next16()
        self.at += code.length[found]
        return code.symbol[found]

    def number(self, bits: int) -> int:
        value = self.next16() >> (16 - bits)
        self.at += bits
        return value


class _PastEnd(Exception):
    """A code would begin after the data."""


def unended_at(content: bytes) -> int | None:
    """Return where a JPEG's end mark is missing: the end of its data, all of which is there.

    None for a JPEG that has its end mark or lacks pixels, and for one that cannot be followed.
    """
    if _is_ended(content):  # most files, phones' with a film after it among them: no code is followed
        return None
    try:
        return _Picture(content).follow()
    except (IndexError, KeyError, ValueError, _PastEnd):  # of a header that is damaged, or a scan that is short
        return None


def _is_ended(content: bytes) -> bool:
    """Return whether the end mark is there, after the last scan."""
    at = 2
    while (mark := MARKER.match(content, at)) and mark[1][0] != END:
        at = mark.end() + int.from_bytes(content[mark.end() : mark.end() + 2], "big")
        if mark[1][0] == SCAN:
            following = MARKER.search(content, at)
            at = following.start() if following else len(content)
    return mark is not None


class _Picture:
    def __init__(self, content: bytes) -> None:
        self.content = content
        self.codes: dict[int, _Code] = {}
        self.parts: dict[int, _Component] = {}
        self.interval = 0
        self.units = (0, 0)  # of an interleaved scan
        self.progressive = False

    def follow(self) -> int | None:
        content, at = self.content, 2
        while mark := MARKER.match(content, at):
            begin = mark.end()
            at = begin + int.from_bytes(content[begin : begin + 2], "big")
            kind, segment = mark[1][0], content[begin + 2 : at]
            if kind == SCAN:
                following = MARKER.search(content, at)
                end = following.start() if following else len(content) - content.endswith(b"\xff")
                self._scan(segment, content[at:end])
                at = end
                if following is None:
                    return end if self._is_complete() else None
            elif not self._header(kind, segment):
                return None
        if mark is None and not content[at:].strip(b"\xff"):  # cut after a scan and the segments after it
            return at if self._is_complete() else None
        return None

    def _header(self, kind: int, segment: bytes) -> bool:
        """Take what a segment says; False for a kind of JPEG that is not followed."""
        if kind in SEQUENTIAL or kind == PROGRESSIVE:
            self._frame(segment, kind == PROGRESSIVE)
        elif kind in OTHER_FRAMES:
            return False
        elif kind == TABLES:
            self._tables(segment)
        elif kind == INTERVAL:
            self.interval = int.from_bytes(segment[:2], "big")
        return True

    def _frame(self, segment: bytes, progressive: bool) -> None:
        height, width = (int.from_bytes(segment[at : at + 2], "big") for at in (1, 3))
        if not height or not width:
            raise ValueError("a height that comes after the first scan is not followed")
        self.progressive = progressive
        for at in range(6, 6 + 3 * segment[5], 3):
            self.parts[segment[at]] = _Component(segment[at + 1] >> 4, segment[at + 1] & 15)
        across, down = (max(getattr(part, side) for part in self.parts.values()) for side in ("across", "down"))
        self.units = (-(-width // (8 * across)), -(-height // (8 * down)))
        for part in self.parts.values():
            part.widths = -((-width * part.across // across) // 8)
            part.heights = -((-height * part.down // down) // 8)
            part.nonzero = bytearray(BLOCK * part.widths * part.heights if progressive else 0)

    def _tables(self, segment: bytes) -> None:
        at = 0
        while at < len(segment):
            counts = segment[at + 1 : at + 17]
            symbols = segment[at + 17 : at + 17 + sum(counts)]
            self.codes[segment[at]] = _code(counts, symbols)
            at += 17 + sum(counts)

    def _scan(self, segment: bytes, data: bytes) -> None:
        """Follow the codes of a scan. Raises ``_PastEnd`` if the data ends before the last one."""
        count = segment[0]
        scanned = [(self.parts[segment[1 + 2 * at]], segment[2 + 2 * at]) for at in range(count)]
        first, last, bits = segment[1 + 2 * count : 4 + 2 * count]
        one = scanned[0][0]
        total = self.units[0] * self.units[1] if count > 1 else one.widths * one.heights
        each = self.interval or total
        pieces = RESTART.split(data)
        if len(pieces) != -(-total // each):
            raise _PastEnd
        for number, piece in enumerate(pieces):
            stream, begin = _Bits(piece), number * each
            blocks = range(begin, min(begin + each, total))
            if not self.progressive:
                self._sequential(stream, scanned, len(blocks))
            elif not first:
                self._direct(stream, scanned, len(blocks), refined=bool(bits >> 4))
            elif bits >> 4:
                _refine(stream, one, self.codes[0x10 | scanned[0][1] & 15], blocks, first, last)
            else:
                _spectrum(stream, one, self.codes[0x10 | scanned[0][1] & 15], blocks, first, last)
            if stream.at > stream.end:
                raise _PastEnd
        for part, _ in scanned:
            low, high = (first, last) if self.progressive else (0, BLOCK - 1)
            part.missing[low : high + 1] = [bits & 15] * (high + 1 - low)

    def _blocks_of_unit(self, scanned: list[tuple[_Component, int]]) -> Iterator[int]:
        """Yield the tables of each block of a unit."""
        for part, tables in scanned:
            yield from [tables] * (part.across * part.down if len(scanned) > 1 else 1)

    def _sequential(self, stream: _Bits, scanned: list[tuple[_Component, int]], units: int) -> None:
        blocks = [(self.codes[tables >> 4], self.codes[0x10 | tables & 15]) for tables in self._blocks_of_unit(scanned)]
        for _ in range(units):
            for direct, others in blocks:
                bits = stream.symbol(direct)
                stream.at += bits
                place = 1
                while place < BLOCK:
                    symbol = stream.symbol(others)
                    stream.at += symbol & 15
                    if not symbol & 15 and symbol >> 4 < 15:
                        break
                    place += (symbol >> 4) + 1

    def _direct(self, stream: _Bits, scanned: list[tuple[_Component, int]], units: int, refined: bool) -> None:
        """Follow the first coefficients of a progressive picture: a code and its bits, or one bit each."""
        blocks = list(self._blocks_of_unit(scanned))
        if refined:
            stream.at += units * len(blocks)
            return
        codes = [self.codes[tables >> 4] for tables in blocks]
        for _ in range(units):
            for code in codes:
                bits = stream.symbol(code)
                stream.at += bits

    def _is_complete(self) -> bool:
        return bool(self.parts) and not any(any(part.missing) for part in self.parts.values())


def _spectrum(stream: _Bits, part: _Component, code: _Code, blocks: range, first: int, last: int) -> None:
    """Follow other coefficients of a progressive picture for the first time. A run may leave out the next blocks."""
    run = 0
    for block in blocks:
        if run:
            run -= 1
            continue
        place = first
        while place <= last:
            symbol = stream.symbol(code)
            zeros, bits = symbol >> 4, symbol & 15
            if not bits and zeros < 15:
                run = (1 << zeros) - 1 + (stream.number(zeros) if zeros else 0)
                break
            place += zeros
            if bits:
                stream.at += bits
                part.nonzero[BLOCK * block + place] = 1
            place += 1


def _refine(stream: _Bits, part: _Component, code: _Code, blocks: range, first: int, last: int) -> None:
    """Follow one more bit of other coefficients: one for each that is not zero so far, and codes for new ones."""
    run = 0
    for block in blocks:
        base = BLOCK * block
        place, stop = base + first, base + last + 1
        while not run and place < stop:
            symbol = stream.symbol(code)
            zeros, new = symbol >> 4, symbol & 15
            if not new and zeros < 15:
                run = (1 << zeros) + (stream.number(zeros) if zeros else 0)
                break
            stream.at += bool(new)
            while place < stop and (part.nonzero[place] or zeros):
                if part.nonzero[place]:
                    stream.at += 1
                else:
                    zeros -= 1
                place += 1
            if new and place < stop:
                part.nonzero[place] = 1
            place += 1
        if run:
            stream.at += sum(part.nonzero[place:stop])
            run -= 1


@lru_cache(maxsize=REMEMBERED)
def _code(counts: bytes, symbols: bytes) -> _Code:
    """Build a table from the number of codes of each length, 1 to 16 bits, and their symbols."""
    lengths, named = [], []
    left = iter(symbols)
    for length, count in enumerate(counts, 1):
        for _ in range(count):
            lengths += [length] * (1 << (16 - length))
            named += [next(left, 0)] * (1 << (16 - length))
    rest = max((1 << 16) - len(lengths), 0)
    return _Code(lengths + [PAST] * rest, named + [0] * rest)
