"""decord where it is installed and exact, PyAV elsewhere."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from vlframe import MediaError
from vlframe_readers.clip import clip
from vlframe_readers.decord import DecordReader, refusal, seeks_exactly
from vlframe_readers.pyav import PyavReader


class AutoReader(PyavReader):
    """The frames are the same whichever library decodes them; decord is used where it can seek."""

    def __init__(self) -> None:
        self._decord = DecordReader() if find_spec("decord") else None

    def frames(self, path: Path, indices: Sequence[int]) -> np.ndarray:
        """RGB uint8 ``frames_TYXC``, rotated upright, in the order of ``indices``; an index may come twice."""
        held = clip(path)
        if self._decord and seeks_exactly(held) and not refusal(held):
            try:
                return self._decord.frames(path, indices)
            except MediaError:
                return super().frames(path, indices)  # PyAV has the last word, and the better reason
        return super().frames(path, indices)
