"""Frames as the official code takes them (videollama2/mm_utils.py, process_video and process_image).

Names carry shapes: T frames, C colours, Y X pixels.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vlframe import MediaError

if TYPE_CHECKING:
    from torch import Tensor

    from vlframe import Media, MediaSource, PixelSpec
    from vlframe_videollama2.settings import OfficialDataParams

FOLDER_FPS = 3.0
GIF_FPS = 25.0


def video(media: Media, source: MediaSource, settings: OfficialDataParams) -> Tensor:
    """uint8 ``frames_TCYX`` of a clip, of a folder of pictures (in the order of their names), or of a GIF."""
    spec = fitted(source, settings)
    limit = settings.max_frames
    if media.path.is_dir():
        files = sorted(os.listdir(media.path))
        indices = sampled(media, len(files), FOLDER_FPS, source, settings)[:limit]
        return resized((_picture(media.path / files[index]) for index in indices), spec)
    if settings.gif == "black" and str(media.path).endswith(".gif"):
        frames = _gif(media, source, settings)
        return resized(with_black(frames, _count(source) or 0)[:limit], spec)
    info = source.reader.info(media.path)
    indices = sampled(media, info.frames, info.fps, source, settings)[:limit]
    distinct = sorted(set(indices))
    frames_TCYX = spec.resize(source.reader.frames(media.path, distinct))
    return frames_TCYX[[distinct.index(index) for index in indices]]


def image(media: Media, source: MediaSource, settings: OfficialDataParams) -> Tensor:
    """uint8 ``frames_TCYX``, T = 1."""
    return resized([_picture(media.path, upright=settings.upright)], fitted(source, settings))


def fitted(source: MediaSource, settings: OfficialDataParams) -> PixelSpec:
    """The encoder's pixels, padded to a square where the official scripts pad."""
    fit = settings.training_fit if source.training else settings.inference_fit
    return replace(source.pixels, fit="pad") if fit == "pad" else source.pixels


def sampled(media: Media, frames: int, fps: float, source: MediaSource, settings: OfficialDataParams) -> list[int]:
    """Indices into a clip of ``frames`` frames. ``MediaError`` where the official code fails."""
    bounds = frame_bounds if settings.bounds == "official" else frames_on_show
    first, stop = bounds(frames, fps, media.start, media.end)
    if stop <= first:
        raise MediaError(
            f"{media.path}: no frame lies between start={media.start} and end={media.end}; "
            f"the clip lasts {frames / fps:.3f} s"
        )
    count = _count(source)
    if count is not None:
        return [first + index for index in uniform(stop - first, count)]
    if fps // source.config.fps < 1:
        raise MediaError(f"{media.path}: it has {fps:g} frames a second, fewer than media.fps={source.config.fps:g}")
    return [first + index for index in by_rate(stop - first, fps, source.config.fps)]


def _count(source: MediaSource) -> int | None:
    """How many frames are sampled; None: by the second."""
    return source.config.frames if source.config.sampling == "uniform" else None


def frame_bounds(frames: int, fps: float, start: float | None, end: float | None) -> tuple[int, int]:
    """``(first, stop)``, a frame earlier than asked. Bounds are put right only where both are given, and equal ones
    mean a second (mm_utils.py:134-141, 160-163)."""
    if start is not None and end is not None:
        start, end = max(start, 0.0), max(end, 0.0)
        start, end = (start, start + 1) if start == end else (min(start, end), max(start, end))
    first = 0 if start is None else max(int(start * fps) - 1, 0)
    last = frames - 1 if end is None else min(int(end * fps) - 1, frames - 1)
    return first, last + 1


def frames_on_show(frames: int, fps: float, start: float | None, end: float | None) -> tuple[int, int]:
    """``(first, stop)``: frame k is on show from k / fps to (k + 1) / fps."""
    nearly = 1e-6  # of a frame: 0.1 * 30 is a little more than 3
    first = 0 if start is None else int(max(start, 0.0) * fps + nearly)
    stop = frames if end is None else min(int(-(-(end * fps - nearly) // 1)), frames)
    return first, max(stop, first + 1) if first < frames and (end is None or end > (start or 0.0)) else first


def uniform(count: int, frames: int) -> list[int]:
    """Midpoints of ``frames`` equal parts (mm_utils.frame_sample, 'uniform')."""
    part = float(count - 1) / frames
    middles = [(part * number + part * (number + 1)) / 2 for number in range(frames)]
    return np.round(np.array(middles) + 1e-6).astype(int).tolist()


def by_rate(count: int, fps: float, rate: float) -> list[int]:
    """One frame for each 1 / ``rate`` seconds; a broken step is rounded down, and drifts (frame_sample, 'fps')."""
    step = int(min(fps // rate, count))
    return list(range(step // 2, count, step))


def with_black(frames: Sequence[np.ndarray], count: int) -> list[np.ndarray]:
    """Black frames up to ``count``. Each has the height of the one before for its width, and the width for its
    height (mm_utils.py:190-191)."""
    padded = list(frames)
    while len(padded) < count:
        height, width = padded[-1].shape[:2]
        padded.append(np.zeros((width, height, 3), np.uint8))
    return padded


def resized(frames: Iterable[np.ndarray], spec: PixelSpec) -> Tensor:
    """Frames of any sizes, each ``frame_YXC`` -> uint8 ``frames_TCYX``."""
    import torch

    return torch.cat([spec.resize(frame_YXC[None]) for frame_YXC in frames])


def _gif(media: Media, source: MediaSource, settings: OfficialDataParams) -> list[np.ndarray]:
    """The sampled frames, each once: what a short GIF would repeat is missing (mm_utils.py:175)."""
    from PIL import Image, ImageSequence

    try:
        with Image.open(media.path) as gif:
            chosen = set(sampled(media, getattr(gif, "n_frames", 1), GIF_FPS, source, settings))
            return [
                np.asarray(frame.convert("RGB"))
                for index, frame in enumerate(ImageSequence.Iterator(gif))
                if index in chosen
            ]
    except OSError as error:
        raise MediaError(f"{media.path}: cannot be read as a GIF: {error}") from error


def _picture(path: Path, *, upright: bool = False) -> np.ndarray:
    """RGB uint8 ``frame_YXC``. (The official code does not convert the pictures of a folder, and fails on grey.)"""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as picture:
            return np.asarray((ImageOps.exif_transpose(picture) if upright else picture).convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise MediaError(f"{path}: cannot be read as an image: {reason}") from error
