"""Read frames as the official code does (videollama2/mm_utils.py, process_video and process_image).

Names have shapes: T frames, C colours, Y X pixels.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vlframe import (
    MediaError,
    Timeline,
    VideoInfo,
    frame_at,
    frame_range,
    midpoints,
    opened_picture,
    shown_span,
    time_midpoints,
)

if TYPE_CHECKING:
    from torch import Tensor

    from vlframe import Media, MediaSource, SquarePixels
    from vlframe_videollama2.settings import OfficialProcessorParams

FOLDER_FPS = 3.0
GIF_FPS = 25.0
NEARLY = 1e-6  # of a frame
UNEVEN = "the frame rate varies: frames by their times, and not by the official formula"


def timeline(media: Media, source: MediaSource, settings: OfficialProcessorParams) -> Timeline:
    """Choose the frames of a clip. For picture folders and GIFs they are known only on reading."""
    if media.path.is_dir() or (settings.gif == "black" and str(media.path).endswith(".gif")):
        return Timeline(media)
    info = source.reader.info(media.path)
    indices = sampled(media, info, source, settings)[: settings.max_frames]
    layout = fitted(source, settings).layout(info.height, info.width, len(indices))
    return Timeline(
        media,
        frames=tuple(indices),
        seconds=tuple(info.time(index) for index in indices),
        height=info.height,
        width=info.width,
        layout=layout,
        duration=info.seconds,
        shape=(len(indices), 3, layout.height, layout.width),
        note="" if info.times is None else UNEVEN,
    )


def video(timeline: Timeline, source: MediaSource, settings: OfficialProcessorParams) -> Tensor:
    """Return uint8 ``frames_TCYX`` of a clip, of a folder of pictures (in the order of their names), or of a GIF."""
    media = timeline.media
    spec = fitted(source, settings)
    limit = settings.max_frames
    if media.path.is_dir():
        files = sorted(os.listdir(media.path))
        indices = sampled(media, _clip(len(files), FOLDER_FPS), source, settings)[:limit]
        return resized((_picture(media.path / files[index]) for index in indices), spec)
    if settings.gif == "black" and str(media.path).endswith(".gif"):
        frames = _gif(media, source, settings)
        return resized(with_black(frames, _count(source) or 0)[:limit], spec)
    distinct = sorted(set(timeline.frames))
    frames_TCYX = spec.prepare(source.reader.frames(media.path, distinct))
    return frames_TCYX[[distinct.index(index) for index in timeline.frames]]


def image(media: Media, source: MediaSource, settings: OfficialProcessorParams) -> Tensor:
    """Return uint8 ``frames_TCYX``, T = 1."""
    return resized([_picture(media.path, upright=settings.upright)], fitted(source, settings))


def fitted(source: MediaSource, settings: OfficialProcessorParams) -> SquarePixels:
    """Return the encoder's front end, padding to a square if the official scripts pad."""
    resize = settings.training_resize if source.training else settings.inference_resize
    return replace(source.front_end, resize="pad") if resize == "pad" else source.front_end


def sampled(media: Media, info: VideoInfo, source: MediaSource, settings: OfficialProcessorParams) -> list[int]:
    """Return indices into a clip. ``MediaError`` if the official code fails.

    That code counts frames at the average rate from the first frame on. Where the rate varies, those are the frames of
    other seconds: there, frames are chosen by their times.
    """
    start, end = media.start, media.end
    if settings.bounds == "official":
        start, end = corrected(start, end)
    if info.times is not None:
        try:
            return by_times(info, start, end, source)
        except MediaError as error:
            raise MediaError(f"{media.path}: {error}") from error
    first, stop = bounds(info, start, end, official=settings.bounds == "official")
    if stop <= first:
        raise MediaError(
            f"{media.path}: no frame lies between start={media.start} and end={media.end}; "
            f"the clip lasts {info.seconds:.3f} s"
        )
    count = _count(source)
    if count is not None:
        return [first + index for index in midpoints(stop - first, count)]  # mm_utils.frame_sample, 'uniform'
    rate = _rate(source)
    if info.fps // rate < 1:
        raise MediaError(f"{media.path}: it has {info.fps:g} frames a second, fewer than media.sampler.fps={rate:g}")
    return [first + index for index in by_rate(stop - first, info.fps, rate)]


def by_times(info: VideoInfo, start: float | None, end: float | None, source: MediaSource) -> list[int]:
    """Return the frames shown in the middle of equal parts of the time."""
    count = _count(source)
    if count is not None:
        return time_midpoints(info, start, end, count)
    begin, finish = shown_span(info, start, end)
    rate = _rate(source)
    parts = max(1, math.ceil((finish - begin) * rate - 0.5 - NEARLY))
    return [frame_at(info, begin + (part + 0.5) / rate) for part in range(parts)]


def _clip(frames: int, fps: float) -> VideoInfo:
    return VideoInfo(frames, fps, height=0, width=0, has_audio=False)


def _count(source: MediaSource) -> int | None:
    """Return how many frames are sampled; None: by the second."""
    return source.config.frames if source.config.sampler["name"] != "fps" else None


def _rate(source: MediaSource) -> float:
    return float(source.config.sampler["fps"])


def corrected(start: float | None, end: float | None) -> tuple[float | None, float | None]:
    """Return bounds in order, if both are given; equal ones mean a second (mm_utils.py:134-141)."""
    if start is None or end is None:
        return start, end
    start, end = max(start, 0.0), max(end, 0.0)
    return (start, start + 1) if start == end else (min(start, end), max(start, end))


def bounds(info: VideoInfo, start: float | None, end: float | None, *, official: bool) -> tuple[int, int]:
    """Return ``(first, stop)``; officially a frame earlier than asked (mm_utils.py:160-163). Constant rates only."""
    if not official:
        return frame_range(info, start, end)
    first = 0 if start is None else max(int((start - info.begin) * info.fps) - 1, 0)
    last = info.frames - 1 if end is None else min(int((end - info.begin) * info.fps) - 1, info.frames - 1)
    return first, last + 1


def by_rate(count: int, fps: float, rate: float) -> list[int]:
    """Take one frame per 1 / ``rate`` seconds; a fractional step is rounded down, and drifts (frame_sample, 'fps')."""
    step = int(min(fps // rate, count))
    return list(range(step // 2, count, step))


def with_black(frames: Sequence[np.ndarray], count: int) -> list[np.ndarray]:
    """Append black frames up to ``count``. Each swaps the height and width of the one before (mm_utils.py:190-191)."""
    padded = list(frames)
    while len(padded) < count:
        height, width = padded[-1].shape[:2]
        padded.append(np.zeros((width, height, 3), np.uint8))
    return padded


def resized(frames: Iterable[np.ndarray], spec: SquarePixels) -> Tensor:
    """Fit frames of any sizes, each ``frame_YXC``, into uint8 ``frames_TCYX``."""
    import torch

    return torch.cat([spec.prepare(frame_YXC[None]) for frame_YXC in frames])


def _gif(media: Media, source: MediaSource, settings: OfficialProcessorParams) -> list[np.ndarray]:
    """Return the sampled frames, each once: repeats for a short GIF are missing (mm_utils.py:175)."""
    from PIL import ImageSequence

    assert isinstance(media.path, Path)
    with opened_picture(media.path) as gif:
        chosen = set(sampled(media, _clip(getattr(gif, "n_frames", 1), GIF_FPS), source, settings))
        frames = enumerate(ImageSequence.Iterator(gif))
        return [np.asarray(frame.convert("RGB")) for index, frame in frames if index in chosen]


def _picture(path: Path, *, upright: bool = False) -> np.ndarray:
    """Return RGB uint8 ``frame_YXC``. (The official code does not convert pictures of a folder, and fails on grey.)"""
    from PIL import ImageOps

    with opened_picture(path) as picture:
        return np.asarray((ImageOps.exif_transpose(picture) if upright else picture).convert("RGB"))
