"""VideoChat2's frames (mvbench.ipynb, get_index; dataset/video_utils.py, get_frame_indices)."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from vlframe import MediaError, VideoInfo, check_frames, frame_range


class Sampler:
    """Questions: rounded equal distances, the first half a distance from the beginning; a short clip repeats frames.

    Training: a random frame from each of ``frames`` equal parts. A clip of fewer frames gives them all and repeats the
    last. Bounds are multiplied by the frame rate, and rounded (questions) or cut off (training); where the rate varies,
    they are the frames on display.
    """

    def __init__(self, *, frames: int, skip_last: bool) -> None:
        self.frames = check_frames(frames)
        self.skip_last = skip_last

    def indices(
        self,
        info: VideoInfo,
        start: float | None,
        end: float | None,
        *,
        training: bool,
        generator: np.random.Generator,
    ) -> list[int]:
        """Return ``frames`` indices. MediaError for bounds without a frame."""
        if info.times is not None:
            first, stop = frame_range(info, start, end)
            return self._places(first, stop, training=training, generator=generator)
        begin, finish = (None if second is None else second - info.begin for second in (start, end))
        if not training:
            first = 0 if begin is None else max(0, round(begin * info.fps))
            stop = 1 + (info.frames - 1 if finish is None else min(round(finish * info.fps), info.frames - 1))
        else:
            first = 0 if begin is None else max(0, int(begin * info.fps))
            stop = info.frames if finish is None else min(info.frames, first + int((finish - (begin or 0)) * info.fps))
        _check(first, stop, start, end, info)
        return self._places(first, stop, training=training, generator=generator)

    def note(self, info: VideoInfo, start: float | None, end: float | None) -> str:
        return ""

    def _places(self, first: int, stop: int, *, training: bool, generator: np.random.Generator) -> list[int]:
        if not training:
            return distances(first, stop - 1, self.frames)
        return [first + place for place in self._drawn(stop - first, generator)]

    def _drawn(self, count: int, generator: np.random.Generator) -> list[int]:
        """Return a frame of each part, the last of it excluded (``skip_last``). If a part has no other, as many frames
        are drawn from all, as in the official code."""
        parts = min(self.frames, count)
        borders = np.linspace(0, count, parts + 1).astype(int)
        spans = [(int(low), int(high) - self.skip_last) for low, high in pairwise(borders)]
        if all(low < high for low, high in spans):
            found = [int(generator.integers(low, high)) for low, high in spans]
        else:
            found = sorted(int(place) for place in generator.permutation(count)[:parts])
        return found + found[-1:] * (self.frames - parts)


def distances(first: int, last: int, frames: int) -> list[int]:
    """Return ``frames`` indices between two frames."""
    distance = (last - first) / frames
    return [int(first + distance / 2 + np.round(distance * place)) for place in range(frames)]


def _check(first: int, stop: int, start: float | None, end: float | None, info: VideoInfo) -> None:
    if first >= stop:
        raise MediaError(
            f"there is no frame from start={start} to end={end}; the clip has {info.frames} at {info.fps:g} fps"
        )
