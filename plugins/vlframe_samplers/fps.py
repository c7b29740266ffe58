"""Sample a fixed number of frames per second."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING

from vlframe import check_frames, frame_at, frame_range, shown_span
from vlframe_samplers.checks import check_above_zero
from vlframe_samplers.uniform import spread

if TYPE_CHECKING:
    import numpy as np

    from vlframe import VideoInfo

TOLERANCE = 1e-6  # of a frame


class Fps:
    """The middle frame of each ``1 / fps`` seconds; spread over the whole clip if there are more than ``frames``.

    Equal to the official VideoLLaMA 2 rule if the clip's rate is a multiple of ``fps``; otherwise that rule rounds the
    step down and drifts. If there are more than ``frames``, it keeps the first and never sees the rest.
    """

    def __init__(self, *, fps: float, frames: int) -> None:
        self.fps = check_above_zero("fps", fps)
        self.frames = check_frames(frames)

    def indices(
        self,
        info: VideoInfo,
        start: float | None,
        end: float | None,
        *,
        training: bool,
        generator: np.random.Generator,
    ) -> list[int]:
        count, frame = self._parts(info, start, end)
        return [frame(part) for part in range(count)] if count <= self.frames else spread(info, start, end, self.frames)

    def note(self, info: VideoInfo, start: float | None, end: float | None) -> str:
        count, _ = self._parts(info, start, end)
        return "" if count <= self.frames else f"{count} frames at {self.fps:g} fps, cut to {self.frames}"

    def _parts(self, info: VideoInfo, start: float | None, end: float | None) -> tuple[int, Callable[[int], int]]:
        """Return the number of parts, and a function that gives the middle frame of each."""
        if info.times is not None:
            return self._by_time(info, start, end)
        first, stop = frame_range(info, start, end)
        step = max(min(info.fps / self.fps, stop - first), 1.0)  # a clip with a lower rate: every frame, once
        count = math.ceil((stop - first) / step - 0.5 - TOLERANCE)
        return count, lambda part: first + math.floor(step / 2 + part * step + TOLERANCE)

    def _by_time(self, info: VideoInfo, start: float | None, end: float | None) -> tuple[int, Callable[[int], int]]:
        """Use the frame shown in the middle of each part: a picture shown for long is taken several times."""
        begin, finish = shown_span(info, start, end)
        rate = max(min(self.fps, fastest(info)), 1 / (finish - begin))
        count = max(1, math.ceil((finish - begin) * rate - 0.5 - TOLERANCE))
        return count, lambda part: frame_at(info, min(begin + (part + 0.5) / rate, finish - TOLERANCE / info.fps))


def fastest(info: VideoInfo) -> float:
    """Return the highest rate at which frames follow each other anywhere in a clip of varying rate."""
    times = info.times or ()
    return max((1 / (after - before) for before, after in pairwise(times)), default=info.fps)
