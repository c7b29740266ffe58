"""Which frames of a clip are looked at."""

import math
from collections.abc import Callable
from typing import Protocol

from vlframe.contracts import VideoInfo
from vlframe.errors import ConfigError, MediaError

TOLERANCE = 1e-6  # of a frame: 0.1 s at 30 fps is frame 3, though 0.1 * 30 is a little more than 3


class Sampling(Protocol):
    """The part of ``MediaConfig`` that chooses frames."""

    sampling: str
    frames: int
    fps: float


def sample_indices(
    info: VideoInfo, config: Sampling, start: float | None = None, end: float | None = None
) -> list[int]:
    """Frame indices between ``start`` and ``end`` (seconds), ascending; a short clip repeats some of them.

    Raises ``MediaError`` for bounds that hold no frame, ``ConfigError`` for an impossible configuration.
    """
    check_sampling(config)
    first, stop = frame_range(info, start, end)
    return [first + index for index in POLICIES[config.sampling](stop - first, info.fps, config)]


def check_sampling(config: Sampling) -> None:
    """Refuse an unknown policy, and numbers with which no frame would be seen."""
    if config.sampling not in POLICIES:
        raise ConfigError(f"media.sampling is {config.sampling!r}; it can be {', '.join(POLICIES)}")
    if config.frames < 1:
        raise ConfigError(f"media.frames is {config.frames}; it must be at least 1")
    if config.sampling == "fps" and not 0 < config.fps < math.inf:
        raise ConfigError(f"media.fps is {config.fps}; it must be more than 0")


def frame_range(info: VideoInfo, start: float | None, end: float | None) -> tuple[int, int]:
    """The frames on show from ``start`` to ``end`` as ``(first, stop)``; a border beyond the clip's own moves to it.

    Frame k is on show from k / fps to (k + 1) / fps. (The official code begins and ends one frame earlier, and fails
    on bounds that lie inside one frame.)
    """
    seconds = info.seconds
    begin = 0.0 if start is None else max(float(start), 0.0)
    finish = seconds if end is None else min(float(end), seconds)
    if not begin < seconds:
        raise MediaError(f"start={start} is not before the end of the clip, which lasts {seconds:.3f} s")
    if not begin < finish:
        raise MediaError(f"start={start} is not before end={end}; the clip lasts {seconds:.3f} s")
    first = min(math.floor(begin * info.fps + TOLERANCE), info.frames - 1)
    stop = min(math.ceil(finish * info.fps - TOLERANCE), info.frames)
    return first, max(stop, first + 1)


def uniform(count: int, frames: int) -> list[int]:
    """Midpoints of ``frames`` equal parts of ``count`` frames (VideoLLaMA 2, mm_utils.frame_sample)."""
    part = (count - 1) / frames
    return [round((part * i + part * (i + 1)) / 2 + TOLERANCE) for i in range(frames)]


def at_rate(count: int, clip_fps: float, config: Sampling) -> list[int]:
    """The middle frame of each 1 / ``config.fps`` seconds; spread over all of the clip when these are too many.

    Equal to the official rule where the clip's rate is a multiple of ``config.fps``; elsewhere that rule rounds the
    step down and drifts. Where these are more than ``config.frames``, it keeps the first ones and never sees the rest.
    """
    step = min(clip_fps / config.fps, count)
    if step < 1:  # more is asked for than the clip has: every frame, once
        step = 1.0
    indices = [math.floor(step / 2 + i * step + TOLERANCE) for i in range(math.ceil(count / step - 0.5 - TOLERANCE))]
    return indices if len(indices) <= config.frames else uniform(count, config.frames)


POLICIES: dict[str, Callable[[int, float, Sampling], list[int]]] = {
    "uniform": lambda count, clip_fps, config: uniform(count, config.frames),
    "fps": at_rate,
}
