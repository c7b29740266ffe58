"""Frames by PyAV: exact on everything FFmpeg decodes."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vlframe import MediaError, VideoInfo
from vlframe_readers.clip import Clip, clip
from vlframe_readers.container import reading, video_stream
from vlframe_readers.sound import waveform

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

WORTH_A_SEEK = 8  # frames that a seek must save


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
        found = _by_time(path, held, wanted) if held.times else None
        if found is None:
            found = _by_count(path, wanted)
        if len(found) < len(wanted):
            raise MediaError(f"{path}: frame {wanted[len(found)]} of {held.info.frames} cannot be decoded")
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


def _by_count(path: Path, wanted: Sequence[int]) -> list[np.ndarray]:
    """The wanted frames (ascending) as they come, as far as they come."""
    found: list[np.ndarray] = []
    with reading(path) as container:
        for index, frame in enumerate(container.decode(video_stream(container, path))):
            if index == wanted[len(found)]:
                found.append(_upright(frame))
                if len(found) == len(wanted):
                    break
    return found


def _by_time(path: Path, held: Clip, wanted: Sequence[int]) -> list[np.ndarray] | None:
    """The wanted frames (ascending), with seeks; None when a frame does not turn up at its time."""
    found: list[np.ndarray] = []
    with reading(path) as container:
        stream = video_stream(container, path)
        decoded, next_index = container.decode(stream), 0
        for index in wanted:
            if key := _key_ahead(held, next_index, index):
                decoded = _seek(container, stream, key)
            frame = next((frame for frame in decoded if (frame.pts or 0) >= held.times[index]), None)
            if frame is None or frame.pts != held.times[index]:
                return None
            found.append(_upright(frame))
            next_index = index + 1
    return found


def _key_ahead(held: Clip, next_index: int, index: int) -> int | None:
    """The keyframe to decode from, when that skips enough of the frames between ``next_index`` and ``index``."""
    before = bisect_right(held.keys, held.times[index])
    if not before or index - next_index < WORTH_A_SEEK:
        return None
    key = held.keys[before - 1]
    return key if bisect_right(held.times, key) > next_index + WORTH_A_SEEK else None


def _seek(container: InputContainer, stream: VideoStream, time: int) -> Iterator[VideoFrame]:
    container.seek(time, stream=stream)
    return container.decode(stream)


def _upright(frame: VideoFrame) -> np.ndarray:
    """RGB ``frame_YXC``. ``rotation`` is how far (in degrees, counter-clockwise) the frame is to be turned."""
    return np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
