"""Clips made of pictures: an animated file (WebP, PNG, AVIF), a list, or a folder."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from vlframe import (
    ClipPath,
    MediaError,
    VideoInfo,
    format_of,
    frame_files,
    load_image,
    opened_picture,
    picture_count,
    still_image,
    upright_rgb,
    upright_size,
)
from vlframe_readers.clock import shown, with_times

MILLISECOND = 0.001
NO_DURATION = 0.1  # seconds for a picture with a duration of zero, as in browsers
REMEMBERED = 16


class PictureList:
    """A clip of single-picture files, ``fps`` of them a second."""

    def __init__(self, files: Sequence[Path], fps: float) -> None:
        self.files = tuple(files)
        self.fps = fps

    def info(self) -> VideoInfo:
        with opened_picture(self.files[0]) as image:
            height, width = upright_size(image)
        return VideoInfo(len(self.files), self.fps, height, width, has_audio=False)

    def frames(self, wanted: Sequence[int]) -> list[np.ndarray]:
        """Return each ``frame_YXC``, in the order of ``wanted``."""
        return [load_image(self.files[index])[0] for index in wanted]


class MovingPicture:
    """An animated WebP, PNG or AVIF, whose pictures have durations."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def info(self) -> VideoInfo:
        stat = self.path.stat()
        return _moving_info(self.path, stat.st_mtime_ns, stat.st_size)

    def frames(self, wanted: Sequence[int]) -> list[np.ndarray]:
        """Return each ``frame_YXC`` of ``wanted`` (ascending). Pictures are composed in sequence, so all are read."""
        found = []
        with opened_picture(self.path) as image:
            hidden = _hidden(image)
            for index in wanted:
                image.seek(index + hidden)
                found.append(upright_rgb(image))
        return found


def picture_clip(path: ClipPath, fps: float) -> PictureList | MovingPicture | None:
    """Return the clip of pictures at this path; None if FFmpeg should read it. ``MediaError`` for a still image."""
    files = frame_files(path)
    if files is not None:
        return PictureList(files, fps)
    assert isinstance(path, Path)
    try:
        known = format_of(path) if path.is_file() else None
    except OSError as error:
        raise MediaError(f"{path}: {error.strerror}") from error
    if known is None or known.library != "pillow":
        return None
    if picture_count(path) == 1:
        raise still_image(path, known.name)
    return MovingPicture(path) if known.clips == "pillow" else None


def _hidden(image) -> int:
    """Return how many pictures precede the animation (a PNG's, for viewers that cannot animate it)."""
    return int(bool(getattr(image, "default_image", False)))


@lru_cache(maxsize=REMEMBERED)
def _moving_info(path: Path, changed: int, size: int) -> VideoInfo:
    durations = []
    with opened_picture(path) as image:
        height, width = upright_size(image)
        hidden = _hidden(image)
        for index in range(hidden, image.n_frames):
            image.seek(index)
            image.load()
            durations.append(float(image.info.get("duration") or 0.0) * MILLISECOND or NO_DURATION)
    starts_T = np.concatenate([[0.0], np.cumsum(durations)])
    fps = round(len(durations) / float(starts_T[-1]), 9)
    info = VideoInfo(len(durations), fps, height, width, has_audio=False)
    return with_times(info, shown(starts_T[:-1].tolist(), durations[-1], fps, MILLISECOND, 0.0))
