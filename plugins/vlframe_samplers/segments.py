"""Sample one frame of each part of a clip, drawn anew each time in training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vlframe import check_frames, frame_at, frame_range, shown_span

if TYPE_CHECKING:
    import numpy as np

    from vlframe import VideoInfo


class Segments:
    """A random frame of each of ``frames`` equal parts in training, its middle one otherwise (TSN, Wang et al. 2016).

    If the frame rate varies, the parts are equal in time.
    """

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
        shares = generator.random(self.frames).tolist() if training else [0.5] * self.frames
        if info.times is not None:
            begin, finish = shown_span(info, start, end)
            part = (finish - begin) / self.frames
            return [frame_at(info, begin + (number + share) * part) for number, share in enumerate(shares)]
        first, stop = frame_range(info, start, end)
        return [first + index for index in _of_parts(stop - first, shares)]

    def note(self, info: VideoInfo, start: float | None, end: float | None) -> str:
        return ""


def _of_parts(count: int, shares: list[float]) -> list[int]:
    """Return the frame at its share of each part of ``count`` frames; parts shorter than a frame share one."""
    borders = [count * number // len(shares) for number in range(len(shares) + 1)]
    found = []
    for low, high, share in zip(borders, borders[1:], shares, strict=False):
        length = max(high - low, 1)
        found.append(low + min(int(share * length), length - 1))
    return found
