"""Video-LLaMA's frames (video_llama/processors/video_processor.py, load_video)."""

import numpy as np

from vlframe import CountSampler


class Uniform(CountSampler):
    """Frames at equal distances from the first on, rounded down; a clip with fewer than ``frames`` gives them all.

    The official code takes one more than ``frames`` where rounding gives it; here it is left out.
    """

    def places(self, count: int, *, training: bool, generator: np.random.Generator) -> list[int]:
        return spread(count, self.frames)[: self.frames]


class HeadTail(CountSampler):
    """In training, random frames of the first half and as many of the second, in order; otherwise as ``Uniform``."""

    def places(self, count: int, *, training: bool, generator: np.random.Generator) -> list[int]:
        """Return ``frames`` indices, or one less if that is odd; one for a clip too short for halves."""
        if not training:
            return spread(count, self.frames)[: self.frames]
        half = min(self.frames, count) // 2
        if not half:
            return [int(generator.integers(count))]
        head = generator.choice(count // 2, half, replace=False)
        tail = count // 2 + generator.choice(count - count // 2, half, replace=False)
        return [int(index) for index in (*sorted(head), *sorted(tail))]


def spread(count: int, frames: int) -> list[int]:
    """Return indices below ``count``: ``frames`` of them, or one more if rounding errors of the steps add up to it.

    If that one lies after the last frame, the official code fails; here it is left out.
    """
    places = np.arange(0, count, count / min(frames, count)).astype(int)
    return [int(place) for place in places if place < count]
