"""Frames by PyAV: exact on everything FFmpeg decodes."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from vlframe import MediaError, VideoInfo
from vlframe_readers.clip import Clip, clip
from vlframe_readers.container import reading, video_stream
from vlframe_readers.damage import whole
from vlframe_readers.sound import waveform

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

WORTH_A_SEEK = 8  # frames that a seek must save
T = TypeVar("T")


class PyavReader:
    """Decodes from the start, or from the last keyframe before a wanted frame where the times of all frames are known.

    A frame is recognised by its time, so a seek that lands elsewhere is noticed, and the clip decoded from the start.
    """

    def info(self, path: Path) -> VideoInfo:
        return clip(path).info

    def frames(self, path: Path, indices: Sequence[int]) -> np.ndarray:
        """RGB uint8 ``frames_TYXC``, rotated upright, in the order of ``indices``; an index may come twice."""
        held = checked(path, indices)
        wanted = sorted(set(indices))
        found = each(path, held, wanted, _upright)
        _check_sizes(path, held, wanted, found)
        position = {index: at for at, index in enumerate(wanted)}
        return np.stack([found[position[index]] for index in indices])

    def audio(self, path: Path, sampling_rate: int, start: float | None, end: float | None) -> np.ndarray:
        """Mono float32 ``waveform_L``; see ``sound.waveform``."""
        return waveform(path, sampling_rate, start, end)


def checked(path: Path, indices: Sequence[int]) -> Clip:
    """The clip, after a check that it has these frames."""
    held = clip(path)
    outside = [index for index in indices if not 0 <= index < held.info.frames]
    if outside or not len(indices):
        raise MediaError(f"{path}: frames {outside} were asked for and it has {held.info.frames}, counted from 0")
    return held


def _check_sizes(path: Path, held: Clip, wanted: Sequence[int], frames: Sequence[np.ndarray]) -> None:
    """A stream may change its size half-way; a damaged one does so by mistake."""
    for index, frame_YXC in zip(wanted, frames, strict=True):
        size = held.info.height, held.info.width
        if frame_YXC.shape[:2] != size:
            height, width = frame_YXC.shape[:2]
            raise MediaError(f"{path}: frame {index} is {width}x{height}, and the first one {size[1]}x{size[0]}")


def each(path: Path, held: Clip, wanted: Sequence[int], take: Callable[[VideoFrame], T]) -> list[T]:
    """What ``take`` makes of the wanted frames (ascending). ``MediaError`` where damage is noticed on the way."""
    found = None
    if held.times:
        try:
            found = _by_time(path, held, wanted, take)
        except MediaError:  # what follows a seek may lack what it refers to
            found = None
    if found is None:
        found = _by_count(path, wanted, take)
    if len(found) < len(wanted):
        raise MediaError(f"{path}: frame {wanted[len(found)]} of {held.info.frames} cannot be decoded")
    return found


def _by_count(path: Path, wanted: Sequence[int], take: Callable[[VideoFrame], T]) -> list[T]:
    """The wanted frames (ascending) as they come, as far as they come."""
    found: list[T] = []
    with reading(path) as container:
        for index, frame in enumerate(whole(container, video_stream(container, path), path)):
            if index == wanted[len(found)]:
                found.append(take(frame))
                if len(found) == len(wanted):
                    break
    return found


def _by_time(path: Path, held: Clip, wanted: Sequence[int], take: Callable[[VideoFrame], T]) -> list[T] | None:
    """The wanted frames (ascending), with seeks; None when a frame does not turn up at its time."""
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
    """The keyframe to decode from, when that skips enough of the frames between ``next_index`` and ``index``."""
    before = bisect_right(held.keys, held.times[index])
    if not before or index - next_index < WORTH_A_SEEK:
        return None
    key = held.keys[before - 1]
    return key if bisect_right(held.times, key) > next_index + WORTH_A_SEEK else None


def _upright(frame: VideoFrame) -> np.ndarray:
    """RGB ``frame_YXC``. ``rotation`` is how far (in degrees, counter-clockwise) the frame is to be turned.

    Converted in one thread: left alone, PyAV starts one for each core and frame, which costs more than small frames.
    """
    return np.rot90(frame.to_ndarray(format="rgb24", threads=1), round(frame.rotation / 90))
