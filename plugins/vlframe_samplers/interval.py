"""Sample one frame per fixed number of seconds or frames."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from vlframe import ConfigError, check_frames, frame_at, frame_range, shown_span
from vlframe_samplers.checks import check_above_zero

if TYPE_CHECKING:
    import numpy as np

    from vlframe import VideoInfo

UNITS = ("seconds", "frames")
TOLERANCE = 1e-9  # seconds


class Interval:
    """The frame shown ``offset`` after the beginning of the span, then one every ``every``; the first ``frames``."""

    def __init__(self, *, every: float, unit: str, offset: float, frames: int) -> None:
        if unit not in UNITS:
            raise ConfigError(f"media.sampler.unit is {unit!r}; it can be {', '.join(UNITS)}")
        if not 0 <= offset < math.inf:
            raise ConfigError(f"media.sampler.offset is {offset}; it must be 0 or more")
        check_above_zero("every", every)
        if unit == "frames" and (every != int(every) or offset != int(offset)):
            raise ConfigError(f"media.sampler.every is {every} and offset {offset}; with unit=frames both are whole")
        self.every, self.unit, self.offset = every, unit, offset
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
        count, frame = self._rhythm(info, start, end)
        return [frame(step) for step in range(min(count, self.frames))]

    def note(self, info: VideoInfo, start: float | None, end: float | None) -> str:
        count, _ = self._rhythm(info, start, end)
        what = f"{count} frames, one every {self.every:g} {self.unit}"
        return "" if count <= self.frames else f"{what}, cut to the first {self.frames}"

    def _rhythm(self, info: VideoInfo, start: float | None, end: float | None) -> tuple[int, Callable[[int], int]]:
        """Return the number of frames, and a function that gives each; the first of a span shorter than ``offset``."""
        if self.unit == "frames":
            first, stop = frame_range(info, start, end)
            rhythm = range(first + int(self.offset), stop, int(self.every)) or range(first, first + 1)
            return len(rhythm), lambda step: rhythm[step]
        begin, finish = shown_span(info, start, end)
        offset = self.offset if self.offset < finish - begin else 0.0
        count = max(1, math.ceil((finish - begin - offset) / self.every - TOLERANCE)) if offset == self.offset else 1
        return count, lambda step: frame_at(info, begin + offset + step * self.every)
