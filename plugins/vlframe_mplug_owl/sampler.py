"""mPLUG-Owl's frames (mplug_owl_video/processing_mplug_owl.py, get_index)."""

import numpy as np

from vlframe import CountSampler


class Sampler(CountSampler):
    """Always ``frames`` frames at rounded equal distances, the first half a distance from the beginning."""

    def places(self, count: int, *, training: bool, generator: np.random.Generator) -> list[int]:
        return spread(count, self.frames)


def spread(count: int, frames: int) -> list[int]:
    """Return ``frames`` indices below ``count``."""
    distance = (count - 1) / frames
    return [int(distance / 2) + int(np.round(distance * place)) for place in range(frames)]
