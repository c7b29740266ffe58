"""Computes which frames of a clip are shown when, for all samplers. Seconds are on the container's clock."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

from vlframe.errors import ConfigError, MediaError

if TYPE_CHECKING:
    import numpy as np

    from vlframe.contracts.reader import VideoInfo

TOLERANCE = 1e-6  # of a frame: 0.1 s at 30 fps is frame 3, although 0.1 * 30 is slightly more than 3


def shown_span(info: VideoInfo, start: float | None, end: float | None) -> tuple[float, float]:
    """Return the seconds from ``start`` to ``end``; clamped to the video stream.

    Raises ``MediaError`` for bounds between which no picture is shown.
    """
    opens, closes = info.time(0), info.time(0) + info.seconds
    begin = opens if start is None else max(float(start), opens)
    finish = closes if end is None else min(float(end), closes)
    if not begin < closes:
        raise MediaError(f"start={start} is not before the end of the clip, which {_extent(info)}")
    if not begin < finish:
        late = start is not None and end is not None and float(start) < float(end)
        what = f"nothing is shown from start={start} to end={end}" if late else f"start={start} is not before end={end}"
        raise MediaError(f"{what}; the clip {_extent(info)}")
    return begin, finish


def frame_range(info: VideoInfo, start: float | None, end: float | None) -> tuple[int, int]:
    """Return the frames shown from ``start`` to ``end`` as ``(first, stop)``.

    A frame is shown until the next one is. (The official code begins and ends one frame earlier, and fails on bounds
    that lie inside one frame.) Raises ``MediaError`` for bounds between which no picture is shown.
    """
    begin, finish = shown_span(info, start, end)
    first = frame_at(info, begin)
    if info.times is None:
        stop = math.ceil((finish - info.begin) * info.fps - TOLERANCE)
    else:
        stop = bisect_left(info.times, finish - TOLERANCE / info.fps)
    return first, max(min(stop, info.frames), first + 1)


def check_frames(frames: int) -> int:
    """Return ``media.frames``. ConfigError if it is below 1."""
    if frames < 1:
        raise ConfigError(f"media.frames is {frames}; it must be at least 1")
    return frames


class CountSampler:
    """A sampler that chooses frames only by their number; subclasses implement ``places``."""

    def __init__(self, *, frames: int) -> None:
        self.frames = check_frames(frames)

    def places(self, count: int, *, training: bool, generator: np.random.Generator) -> list[int]:
        """Return which of ``count`` frames are chosen, ascending, from 0."""
        raise NotImplementedError(f"{type(self).__name__} has no places")

    def indices(
        self,
        info: VideoInfo,
        start: float | None,
        end: float | None,
        *,
        training: bool,
        generator: np.random.Generator,
    ) -> list[int]:
        """Return frames between ``start`` and ``end``, treated like a whole file."""
        first, stop = frame_range(info, start, end)
        return [first + place for place in self.places(stop - first, training=training, generator=generator)]

    def note(self, info: VideoInfo, start: float | None, end: float | None) -> str:
        return ""


def frame_at(info: VideoInfo, second: float) -> int:
    """Return the frame shown at this second; the first or the last one if none is."""
    if info.times is None:
        index = math.floor((second - info.begin) * info.fps + TOLERANCE)
    else:
        index = bisect_right(info.times, second + TOLERANCE / info.fps) - 1
    return min(max(index, 0), info.frames - 1)


def midpoints(count: int, frames: int) -> list[int]:
    """Return the midpoints of ``frames`` equal parts of ``count`` frames; few frames are repeated."""
    part = (count - 1) / frames
    return [round((part * i + part * (i + 1)) / 2 + TOLERANCE) for i in range(frames)]


def time_midpoints(info: VideoInfo, start: float | None, end: float | None, parts: int) -> list[int]:
    """Return the frame shown in the middle of each of ``parts`` equal parts of the time from ``start`` to ``end``."""
    begin, finish = shown_span(info, start, end)
    return [frame_at(info, begin + (finish - begin) * (part + 0.5) / parts) for part in range(parts)]


def _extent(info: VideoInfo) -> str:
    late = "" if abs(info.time(0)) < 5e-4 else f", from {info.time(0):.3f} to {info.time(0) + info.seconds:.3f} s"
    return f"lasts {info.seconds:.3f} s{late}"
