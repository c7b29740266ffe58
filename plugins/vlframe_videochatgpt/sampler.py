"""Video-ChatGPT's frames (video_chatgpt/eval/model_utils.py, get_seq_frames)."""

from itertools import pairwise

import numpy as np

from vlframe import CountSampler


class Sampler(CountSampler):
    """The middles of equal parts with rounded borders; a clip with fewer frames than requested gives fewer.

    The parts end at the last frame but one, so a clip with exactly the requested number of frames may repeat one and
    omit its last: that is the official table.
    """

    def places(self, count: int, *, training: bool, generator: np.random.Generator) -> list[int]:
        return middles(count, min(self.frames, count))


def middles(count: int, frames: int) -> list[int]:
    """Return ``frames`` indices below ``count``."""
    borders = [int(np.round((count - 1) / frames * part)) for part in range(frames + 1)]
    return [(begin + end) // 2 for begin, end in pairwise(borders)]
