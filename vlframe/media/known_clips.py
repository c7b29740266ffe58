"""Remembers what clips are, so that the frames of a clip that is used again are chosen without opening its file."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import TYPE_CHECKING

from vlframe.media.frame_files import file_states
from vlframe.media.recently_used import RecentlyUsed

if TYPE_CHECKING:
    import numpy as np

    from vlframe.contracts.reader import ClipPath, Reader, VideoInfo

FRAMES = 1_000_000  # of all clips together; the time of a frame takes 32 bytes


class KnownClips:
    """A reader around another one: ``info`` asks it once for each state of a file. The clips used last are kept, up to
    ``limit`` frames altogether.
    """

    def __init__(self, reader: Reader, limit: int = FRAMES) -> None:
        self.reader = reader
        self.known: RecentlyUsed[VideoInfo] = RecentlyUsed(limit, attrgetter("frames"))

    def info(self, path: ClipPath) -> VideoInfo:
        key = file_states(path)
        found = self.known.get(key)
        if found is None:
            found = self.reader.info(path)
            self.known.put(key, found)
        return found

    def frames(self, path: ClipPath, indices: Sequence[int]) -> np.ndarray:
        return self.reader.frames(path, indices)

    def audio(self, path: ClipPath, sampling_rate: int, start: float | None, end: float | None) -> np.ndarray:
        return self.reader.audio(path, sampling_rate, start, end)
