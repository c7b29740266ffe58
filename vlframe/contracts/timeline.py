"""What is known of a medium before it is decoded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vlframe.contracts.grids import PixelLayout
    from vlframe.contracts.sample import Media


@dataclass(frozen=True)
class Timeline:
    """The frames of a medium that will be seen, their times and sizes; a processor may write these into text.

    ``frames`` are indices into the video, ``seconds`` when each is shown on the container's clock (both empty for an
    image and for sound). ``height`` and ``width`` are the upright picture's, in pixels (0 for sound); ``layout`` is
    what each frame becomes. ``duration`` is that of the span from ``start`` to ``end``, in seconds (0 for an image).
    ``shape`` is that of the front end's tensor; None if it is known only after decoding (sound). ``note`` tells
    the user how the frames differ from those asked for. ``seed`` is that of a front end that varies pictures in
    training; None: nothing is random about them.
    """

    media: Media
    frames: tuple[int, ...] = ()
    seconds: tuple[float, ...] = ()
    height: int = 0
    width: int = 0
    layout: PixelLayout | None = None
    duration: float = 0.0
    shape: tuple[int, ...] | None = None
    note: str = ""
    seed: tuple[int, ...] | None = None

    @property
    def tiles(self) -> int:
        return 1 if self.layout is None else self.layout.tiles
