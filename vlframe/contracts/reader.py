"""Readers turn media files into arrays. T frames, Y X pixels, C colours, L waveform samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np


class FrameList(tuple[Path, ...]):
    """Pictures that form a clip in this order; used in place of a file's path and offers some of its methods."""

    suffix = ""

    @property
    def name(self) -> str:
        return str(self)

    def is_dir(self) -> bool:
        return False

    def __str__(self) -> str:
        if len(self) < 2:
            return f"{self[0]} (a list of one picture)" if self else "an empty list of pictures"
        return f"{self[0]} to {self[-1].name} ({len(self)} pictures)"


ClipPath = Path | FrameList  # what a clip is read from: a file, a folder of pictures, or a list of them


def clip_path(path: str | ClipPath) -> ClipPath:
    """Return the path of a clip that a data set names, possibly as a string."""
    return path if isinstance(path, FrameList) else Path(path)


@dataclass(frozen=True)
class VideoInfo:
    """The container's description of its video stream, without assumptions.

    ``fps`` is the average rate. ``height`` and ``width`` are those of the upright picture, in pixels. ``times`` are the
    seconds (on the container's clock, ascending) at which each frame is first shown; None: frame k is shown at ``begin
    + k / fps``. ``end`` is when the last frame ends; None: ``1 / fps`` after it began.
    """

    frames: int
    fps: float
    height: int
    width: int
    has_audio: bool
    begin: float = 0.0
    times: tuple[float, ...] | None = None
    end: float | None = None

    def time(self, index: int) -> float:
        """Return the time in seconds at which a frame is first shown."""
        return self.begin + index / self.fps if self.times is None else self.times[index]

    @property
    def seconds(self) -> float:
        """Return the duration of the video stream."""
        last = self.time(self.frames - 1) + 1 / self.fps if self.end is None else self.end
        return last - self.time(0) if self.times is not None else self.frames / self.fps


class Reader(Protocol):
    """Reads media files into arrays. Raises ``MediaError`` with path and reason for anything it cannot read completely.

    Pictures and sound of a file share one clock: seconds from the start of whichever begins first.
    """

    def info(self, path: ClipPath) -> VideoInfo: ...
    def frames(self, path: ClipPath, indices: Sequence[int]) -> np.ndarray: ...  # RGB uint8 frames_TYXC, upright
    def audio(self, path: ClipPath, sampling_rate: int, start: float | None, end: float | None) -> np.ndarray:
        """Return mono float32 ``waveform_L`` in [-1, 1] from second ``start`` (None: the file's beginning) to ``end``
        (None: the end of the track; clamped to the end of the file).

        It is silent where the track begins late, has a gap, or ends before the pictures. Raises ``NoAudioTrack`` for a
        file without sound, and for a span of a film in which its track has none.
        """
        ...
