"""Remembers what clips are, so that the frames of a clip that is used again are chosen without opening its file."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vlframe.media.frame_files import file_states

if TYPE_CHECKING:
    from collections.abc import Hashable

    import numpy as np

    from vlframe.contracts.reader import ClipPath, Reader, VideoInfo

FRAMES = 1_000_000  # of all clips together; the time of a frame takes 32 bytes


class KnownClips:
    """A reader around another one: ``info`` asks it once for each state of a file. The clips used last are kept, up to
    ``limit`` frames altogether.
    """

    def __init__(self, reader: Reader, limit: int = FRAMES) -> None:
        self.reader = reader
        self.limit = limit
        self.frames_kept = 0
        self._known: OrderedDict[Hashable, VideoInfo] = OrderedDict()

    def info(self, path: ClipPath) -> VideoInfo:
        key = file_states(path)
        known = self._known.get(key)
        if known is not None:
            self._known.move_to_end(key)
            return known
        found = self.reader.info(path)
        self._keep(key, found)
        return found

    def frames(self, path: ClipPath, indices: Sequence[int]) -> np.ndarray:
        return self.reader.frames(path, indices)

    def audio(self, path: ClipPath, sampling_rate: int, start: float | None, end: float | None) -> np.ndarray:
        return self.reader.audio(path, sampling_rate, start, end)

    def _keep(self, key: Hashable, info: VideoInfo) -> None:
        if info.frames > self.limit:
            return
        self._known[key] = info
        self.frames_kept += info.frames
        while self.frames_kept > self.limit:
            _, oldest = self._known.popitem(last=False)
            self.frames_kept -= oldest.frames
