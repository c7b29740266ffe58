"""Samplers choose the frames of a clip that the model sees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np

    from vlframe.contracts.reader import VideoInfo


class Sampler(Protocol):
    """Chooses frames. Built with ``frames`` (``media.frames``, the maximum) in addition to its own parameters."""

    def indices(
        self,
        info: VideoInfo,
        start: float | None,
        end: float | None,
        *,
        training: bool,
        generator: np.random.Generator,
    ) -> list[int]:
        """Return the indices of 1 to ``frames`` frames shown between ``start`` and ``end`` (seconds on the container's
        clock; None: the clip's own borders), ascending; a short clip may repeat some.

        ``generator`` is the only source of randomness; it is seeded by the run's seed and the sample's position in the
        run. Raises ``MediaError`` for bounds that contain no frame.
        """
        ...

    def note(self, info: VideoInfo, start: float | None, end: float | None) -> str:
        """Return what the maximum, ``frames``, leaves out ("120 frames at 1 fps, cut to 8"), or an empty text. The name
        of the key that sets the maximum is added.
        """
        ...
