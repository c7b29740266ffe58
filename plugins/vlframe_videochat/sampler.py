"""VideoChat's frames (video_chat/conversation.py, get_index; dataset/video_utils.py, get_frame_indices)."""

from itertools import pairwise

import numpy as np

from vlframe import ConfigError, CountSampler

INFERENCE = ("distances", "middle")


class Sampler(CountSampler):
    """Frames at equal rounded distances; in training, a random frame of each of ``frames`` equal parts.

    Clips with fewer frames repeat some; in training, and with ``inference="middle"``, they repeat the last one.
    """

    def __init__(self, *, frames: int, inference: str, skip_last: bool) -> None:
        super().__init__(frames=frames)
        if inference not in INFERENCE:
            raise ConfigError(f"media.sampler.inference is {inference!r}; it can be {', '.join(INFERENCE)}")
        self.inference = inference
        self.skip_last = skip_last

    def places(self, count: int, *, training: bool, generator: np.random.Generator) -> list[int]:
        if not training and self.inference == "distances":
            return distances(count, self.frames)
        parts = equal_parts(count, min(self.frames, count))
        if not training:
            found = [(first + last) // 2 for first, last in parts]
        else:
            found = drawn(parts, generator, skip_last=self.skip_last)
        return found + found[-1:] * (self.frames - len(found))


def distances(count: int, frames: int) -> list[int]:
    """Return ``frames`` indices below ``count``; the first one is half a distance from the start."""
    distance = (count - 1) / frames
    return [int(distance / 2) + int(np.round(distance * place)) for place in range(frames)]


def equal_parts(count: int, parts: int) -> list[tuple[int, int]]:
    """Return the first and the last frame of each part."""
    borders = np.linspace(0, count, parts + 1).astype(int)
    return [(int(first), int(after) - 1) for first, after in pairwise(borders)]


def drawn(parts: list[tuple[int, int]], generator: np.random.Generator, *, skip_last: bool) -> list[int]:
    """Return a random frame of each part.

    If ``skip_last`` leaves a part without frames, the same number of frames is drawn from the whole clip, as in the
    official code.
    """
    after = [last if skip_last else last + 1 for _, last in parts]
    if any(stop <= first for (first, _), stop in zip(parts, after, strict=True)):
        chosen = generator.permutation(parts[-1][1] + 1)[: len(parts)]
        return sorted(int(place) for place in chosen)
    return [int(generator.integers(first, stop)) for (first, _), stop in zip(parts, after, strict=True)]
