"""Decoders inspect and read media, one class for each kind of media."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from vlframe.contracts.processor import MediaSource
    from vlframe.contracts.sample import Media
    from vlframe.contracts.timeline import Timeline


class Decoder(Protocol):
    """Reads media of one kind by the ``media`` settings. Built without parameters; raises ``MediaError``."""

    def timeline(self, media: Media, source: MediaSource, generator: np.random.Generator) -> Timeline:
        """Return what is known before decoding."""
        ...

    def decode(self, timeline: Timeline, source: MediaSource) -> Tensor:
        """Return the front end's output: uint8 ``frames_TCYX``, or floats."""
        ...
