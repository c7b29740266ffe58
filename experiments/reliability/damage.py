"""Ways to damage a file."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

TRUNCATIONS = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999)
FLIPS = (1,) * 6 + (3,) * 4 + (10,) * 4 + (100,) * 2  # bits, anywhere in the file
ZEROS = (0.001, 0.01, 0.1, 0.3)  # share of the file
SUFFIXES = (".mp4", ".avi", ".wav", ".jpg")
KINDS = (
    "truncated",
    "bits flipped",
    "a run of zeros",
    "head of another file",
    "head cut off",
    "halves swapped",
    "rubbish appended",
    "wrong extension",
)


def damaged(content: bytes, suffix: str, other: bytes, rng: np.random.Generator) -> Iterator[tuple[str, str, bytes]]:
    """Yield ``(kind, suffix, content)`` of every damaged copy of a good file."""
    size = len(content)
    for share in TRUNCATIONS:
        yield "truncated", suffix, content[: min(size - 1, int(size * share))]
    for bits in FLIPS:
        changed = np.frombuffer(content, np.uint8).copy()
        for at in rng.integers(0, size, bits):
            changed[at] ^= 1 << int(rng.integers(8))
        yield "bits flipped", suffix, changed.tobytes()
    for share in ZEROS:
        length = max(1, int(size * share))
        at = int(rng.integers(0, size - length + 1))
        yield "a run of zeros", suffix, content[:at] + bytes(length) + content[at + length :]
    for length in (16, 256):
        yield "head of another file", suffix, other[:length] + content[length:]
        yield "head cut off", suffix, content[length:]
    middle = size // 2
    yield "halves swapped", suffix, content[middle:] + content[:middle]
    yield "rubbish appended", suffix, content + rng.bytes(1000)
    yield "rubbish appended", suffix, content + bytes(1000)
    for wrong in SUFFIXES:
        if wrong != suffix:
            yield "wrong extension", wrong, content
