"""Choose the reader by the file suffix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from vlframe import ClipPath, ConfigError, Reader, VideoInfo


class SuffixReader:
    """Passes each file to the reader of its suffix (``mp4``, ignoring case), and every other file to ``reader``.

    The content still decides the type of a file: the name only chooses the library that opens it.
    """

    def __init__(self, *, readers: Mapping[str, Reader], reader: Reader) -> None:
        wrong = [key for key in readers if not key or key != key.lower().lstrip(".")]
        if wrong:
            raise ConfigError(f"reader.readers has {wrong[0]!r}; name a suffix like mp4, in small letters and no dot")
        self.readers = dict(readers)
        self.reader = reader

    def info(self, path: ClipPath) -> VideoInfo:
        return self._of(path).info(path)

    def frames(self, path: ClipPath, indices: Sequence[int]) -> np.ndarray:
        """Return RGB uint8 ``frames_TYXC``."""
        return self._of(path).frames(path, indices)

    def audio(self, path: ClipPath, sampling_rate: int, start: float | None, end: float | None) -> np.ndarray:
        """Return mono float32 ``waveform_L``."""
        return self._of(path).audio(path, sampling_rate, start, end)

    def _of(self, path: ClipPath) -> Reader:
        named = isinstance(path, Path) and not path.is_dir()
        return self.readers.get(path.suffix.lower().lstrip("."), self.reader) if named else self.reader
