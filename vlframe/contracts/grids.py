"""Shapes known without running anything: of an encoder's features, and of a prepared picture."""

from __future__ import annotations

from dataclasses import dataclass

# Picture sizes (height, width in pixels) with which a composition is checked and described.
TYPICAL = ((336, 336), (480, 640), (640, 480), (720, 1280), (1080, 1920))


@dataclass(frozen=True)
class VideoGrid:
    """The shape of an encoder's features: ``frames`` x ``height`` x ``width`` positions.

    ``frames`` counts time steps, which may be fewer than the input frames (tubelets). ``sequence`` marks features
    without a plane (a class token in addition to patches, positions that belong to no frame): height is 1, width their
    number.
    """

    frames: int
    height: int
    width: int
    sequence: bool = False

    @property
    def positions(self) -> int:
        return self.frames * self.height * self.width

    def __str__(self) -> str:
        return f"{self.frames}x{self.height}x{self.width}"


@dataclass(frozen=True)
class PixelLayout:
    """A front end's output for each picture of one size: ``tiles`` pictures of ``height`` x ``width`` pixels.

    Tiles are in reading order, ``rows`` of ``columns``; an ``overview`` (the whole picture, small) comes last.
    """

    height: int
    width: int
    rows: int = 1
    columns: int = 1
    overview: bool = False

    @property
    def tiles(self) -> int:
        return self.rows * self.columns + self.overview
