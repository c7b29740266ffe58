"""Frames by PyAV: exact on everything FFmpeg decodes."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from vlframe import ClipPath, ConfigError, MediaError, NoAudioTrack, VideoInfo, frame_files
from vlframe_readers import ReaderParams
from vlframe_readers.clip import Clip, clip
from vlframe_readers.container import reading, video_stream
from vlframe_readers.damage import whole
from vlframe_readers.orientation import orientation
from vlframe_readers.pictures import picture_clip
from vlframe_readers.sound import waveform

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

WORTH_A_SEEK = 8  # frames that a seek must save
T = TypeVar("T")


class PyavReader:
    """Decodes from the start, or from the last keyframe before a wanted frame if the times of all frames are known.

    A frame is recognised by its time, so a seek that lands elsewhere is noticed, and the clip decoded from the start.
    """

    picture_fps = ReaderParams.picture_fps

    def info(self, path: ClipPath) -> VideoInfo:
        pictures = picture_clip(path, self.picture_fps)
        return clip(path).info if pictures is None else pictures.info()

    def frames(self, path: ClipPath, indices: Sequence[int]) -> np.ndarray:
        """Return RGB uint8 ``frames_TYXC``, upright and unmirrored, in the order of ``indices``, with repeats."""
        pictures = picture_clip(path, self.picture_fps)
        info = clip(path).info if pictures is None else pictures.info()
        _check_indices(path, info, indices)
        wanted = sorted(set(indices))
        found = each(path, clip(path), wanted, _upright) if pictures is None else pictures.frames(wanted)
        _check_sizes(path, info, wanted, found)
        position = {index: at for at, index in enumerate(wanted)}
        return np.stack([found[position[index]] for index in indices])

    def audio(self, path: ClipPath, sampling_rate: int, start: float | None, end: float | None) -> np.ndarray:
        """Return mono float32 ``waveform_L``; see ``sound.waveform``."""
        if frame_files(path) is not None:
            raise NoAudioTrack(f"{path}: it has no audio track, it is a list of pictures")
        return waveform(path, sampling_rate, start, end)


class ConfiguredPyavReader(PyavReader):
    """Reads lists of pictures at the rate in the config."""

    def __init__(self, *, picture_fps: float) -> None:
        if not 0 < picture_fps < math.inf:
            raise ConfigError(f"reader.picture_fps is {picture_fps}; it must be more than 0")
        self.picture_fps = picture_fps


def _check_indices(path: ClipPath, info: VideoInfo, indices: Sequence[int]) -> None:
    outside = [index for index in indices if not 0 <= index < info.frames]
    if outside or not len(indices):
        raise MediaError(f"{path}: frames {outside} were asked for and it has {info.frames}, counted from 0")


def checked(path: Path, indices: Sequence[int]) -> Clip:
    """Return the clip, after checking that it has these frames."""
    held = clip(path)
    _check_indices(path, held.info, indices)
    return held


def _check_sizes(path: ClipPath, info: VideoInfo, wanted: Sequence[int], frames: Sequence[np.ndarray]) -> None:
    """Refuse frames of different sizes: a damaged stream can change its size half-way."""
    for index, frame_YXC in zip(wanted, frames, strict=True):
        size = info.height, info.width
        if frame_YXC.shape[:2] != size:
            height, width = frame_YXC.shape[:2]
            raise MediaError(f"{path}: frame {index} is {width}x{height}, and the first one {size[1]}x{size[0]}")


def each(path: Path, held: Clip, wanted: Sequence[int], take: Callable[[VideoFrame], T]) -> list[T]:
    """Apply ``take`` to the wanted frames (ascending). ``MediaError`` if damage is noticed on the way."""
    found = None
    if held.times:
        try:
            found = _by_time(path, held, wanted, take)
        except MediaError:  # frames after a seek may lack their references
            found = None
    if found is None:
        found = _by_count(path, wanted, take)
    if len(found) < len(wanted):
        raise MediaError(f"{path}: frame {wanted[len(found)]} of {held.info.frames} cannot be decoded")
    return found


def _by_count(path: Path, wanted: Sequence[int], take: Callable[[VideoFrame], T]) -> list[T]:
    """Return the wanted frames (ascending) by counting, as far as there are any."""
    found: list[T] = []
    with reading(path) as container:
        for index, frame in enumerate(whole(container, video_stream(container, path), path)):
            if index == wanted[len(found)]:
                found.append(take(frame))
                if len(found) == len(wanted):
                    break
    return found


def _by_time(path: Path, held: Clip, wanted: Sequence[int], take: Callable[[VideoFrame], T]) -> list[T] | None:
    """Return the wanted frames (ascending), with seeks; None if a frame does not appear at its time."""
    found: list[T] = []
    with reading(path) as container:
        stream = video_stream(container, path)
        decoded, next_index = whole(container, stream, path), 0
        for index in wanted:
            if key := _key_ahead(held, next_index, index):
                container.seek(key, stream=stream)
                decoded = whole(container, stream, path)
            frame = next((frame for frame in decoded if (frame.pts or 0) >= held.times[index]), None)
            if frame is None or frame.pts != held.times[index]:
                return None
            found.append(take(frame))
            next_index = index + 1
    return found


def _key_ahead(held: Clip, next_index: int, index: int) -> int | None:
    """Return the keyframe to decode from, if it skips enough of the frames between ``next_index`` and ``index``."""
    before = bisect_right(held.keys, held.times[index])
    if not before or index - next_index < WORTH_A_SEEK:
        return None
    key = held.keys[before - 1]
    return key if bisect_right(held.times, key) > next_index + WORTH_A_SEEK else None


def _upright(frame: VideoFrame) -> np.ndarray:
    """Return RGB ``frame_YXC``, rotated and mirrored as players show it.

    Converted in one thread: by default PyAV starts one per core for each frame, which costs more than small frames.
    """
    return orientation(frame).apply(frame.to_ndarray(format="rgb24", threads=1))
