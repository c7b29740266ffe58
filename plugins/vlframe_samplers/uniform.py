"""Sample equal parts of a clip."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vlframe import check_frames, frame_range, midpoints, time_midpoints

if TYPE_CHECKING:
    import numpy as np

    from vlframe import VideoInfo


class Uniform:
    """The midpoints of ``frames`` equal parts (VideoLLaMA 2, mm_utils.frame_sample); a short clip repeats frames."""

    def __init__(self, *, frames: int) -> None:
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
        return spread(info, start, end, self.frames)

    def note(self, info: VideoInfo, start: float | None, end: float | None) -> str:
        return ""


def spread(info: VideoInfo, start: float | None, end: float | None, frames: int) -> list[int]:
    """Return the midpoints of equal parts: of the number of frames, or of the time if the rate varies."""
    if info.times is not None:
        return time_midpoints(info, start, end, frames)
    first, stop = frame_range(info, start, end)
    return [first + index for index in midpoints(stop - first, frames)]
