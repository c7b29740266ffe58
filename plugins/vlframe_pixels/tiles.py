"""Pictures split into tiles, as in InternVL 1.5 (Chen et al. 2024, "How Far Are We to GPT-4V?", section 3.3).

T frames, C colours, Y X pixels, K tiles.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from vlframe import ConfigError, PixelLayout, SquarePixels


@dataclass(frozen=True)
class Tiles:
    """Resizes a whole picture to the grid of squares nearest to its aspect ratio, and splits it there.

    Squares have the size of the encoder's own front end ``own``, with its colour statistics and resampling; how ``own``
    fits frames that are not square does not matter, since nothing is cropped or padded. With ``overview``, the whole
    picture as one square comes last if there is more than one tile (``overview_of_one``: always). Clips (more than one
    frame) have up to ``video_tiles`` per frame.

    With ``arithmetic="float"``, pictures are resized and kept in float32, which may go a little beyond 0 to 255, as in
    VideoChat2-HD (dataset/hd_utils.py, models/videochat_mistra/videochat2_it_hd_mistral.py).
    """

    own: SquarePixels
    max_tiles: int
    min_tiles: int
    overview: bool
    overview_of_one: bool
    video_tiles: int
    arithmetic: str

    def __post_init__(self) -> None:
        if not isinstance(self.own, SquarePixels):
            raise ConfigError(
                f"pixels 'tiles' needs an encoder of a fixed square size, and this one's front end is "
                f"{type(self.own).__name__}; leave pixels unset, or take pixels=native"
            )
        if self.arithmetic not in ("bytes", "float"):
            raise ConfigError(f"pixels.arithmetic is {self.arithmetic!r}; it can be bytes, float")
        if not 1 <= self.min_tiles <= self.max_tiles or self.video_tiles < 1:
            raise ConfigError(
                f"pixels.min_tiles={self.min_tiles} to max_tiles={self.max_tiles}, video_tiles={self.video_tiles}: all "
                "are at least 1, and min_tiles is at most max_tiles"
            )

    def layout(self, height: int, width: int, frames: int = 1) -> PixelLayout:
        """Return the tiles that each frame of this size becomes in a clip of ``frames`` (1: an image)."""
        most = self.max_tiles if frames == 1 else self.video_tiles
        columns, rows = nearest_grid(width, height, self.own.size, min(self.min_tiles, most), most)
        overview = self.overview and (rows * columns > 1 or self.overview_of_one)
        return PixelLayout(self.own.size, self.own.size, rows, columns, overview)

    def prepare(self, frames_TYXC: np.ndarray) -> Tensor:
        """Return tiles, the first axis K * T: all frames of the first tile, then of the second, and so on. They are
        uint8, or float32 with ``arithmetic="float"``."""
        frames, height, width = frames_TYXC.shape[:3]
        layout = self.layout(height, width, frames)
        if self.arithmetic == "float":
            frames_TCYX = torch.from_numpy(np.ascontiguousarray(frames_TYXC.transpose(0, 3, 1, 2))).float()
            size = (layout.rows * self.own.size, layout.columns * self.own.size)
            return self.cut(_resized(frames_TCYX, size), layout)
        tiles_KTCYX = np.empty((layout.tiles, frames, 3, layout.height, layout.width), np.uint8)
        for index, frame_YXC in enumerate(frames_TYXC):
            tiles_KTCYX[:, index] = self._cut(Image.fromarray(frame_YXC), layout)
        return torch.from_numpy(tiles_KTCYX).flatten(0, 1)

    def normalise(self, frames_TCYX: Tensor) -> Tensor:
        """Return float pixels as the encoder's own front end gives them."""
        if frames_TCYX.dtype == torch.uint8:
            return self.own.normalise(frames_TCYX)
        mean, std = (frames_TCYX.new_tensor(colour).view(-1, 1, 1) for colour in (self.own.mean, self.own.std))
        return (frames_TCYX / 255 - mean) / std

    def cut(self, whole_TCYX: Tensor, layout: PixelLayout) -> Tensor:
        """Return the tiles of float pictures of the grid's size, normalised or not, in the order of ``prepare``."""
        whole_TCRYQX = whole_TCYX.unflatten(3, (layout.columns, -1)).unflatten(2, (layout.rows, -1))
        tiles_KTCYX = whole_TCRYQX.permute(2, 4, 0, 1, 3, 5).flatten(0, 1)
        if layout.overview:
            overview_TCYX = _resized(whole_TCYX, (layout.height, layout.width))
            tiles_KTCYX = torch.cat([tiles_KTCYX, overview_TCYX[None]])
        return tiles_KTCYX.flatten(0, 1)

    def _cut(self, picture: Image.Image, layout: PixelLayout) -> np.ndarray:
        """Return the tiles of one picture in reading order, and the overview: ``tiles_KCYX``."""
        rows, columns, size = layout.rows, layout.columns, self.own.size
        whole_RYQXC = self._resize(picture, columns * size, rows * size).reshape(rows, size, columns, size, 3)
        tiles_KCYX = whole_RYQXC.transpose(0, 2, 4, 1, 3).reshape(rows * columns, 3, size, size)
        if not layout.overview:
            return tiles_KCYX
        overview_CYX = self._resize(picture, size, size).transpose(2, 0, 1)
        return np.concatenate([tiles_KCYX, overview_CYX[None]])

    def _resize(self, picture: Image.Image, width: int, height: int) -> np.ndarray:
        return np.asarray(picture.resize((width, height), Image.Resampling[self.own.resampling.upper()]))


def _resized(frames_TCYX: Tensor, size: tuple[int, int]) -> Tensor:
    return interpolate(frames_TCYX, size=size, mode="bicubic", align_corners=False)


@lru_cache(maxsize=4096)
def nearest_grid(width: int, height: int, size: int, fewest: int, most: int) -> tuple[int, int]:
    """Return columns and rows of the grid, ``fewest`` to ``most`` tiles, nearest to the picture's aspect ratio.

    Of equally near grids the smallest is taken, or a larger one if the picture has more than half of its pixels. Ratios
    are compared as floating-point numbers, as in the published code (InternVL, ``dynamic_preprocess``). Equally near
    grids with the same number of tiles (2x1 and 1x2 for a picture of 5:4) follow the order of a set in that code; here
    fewer columns come first.
    """
    ratio, area = width / height, width * height
    best, least = (1, 1), float("inf")
    for columns, rows in _grids(fewest, most):
        difference = abs(ratio - columns / rows)
        larger = difference == least and area > 0.5 * size * size * columns * rows
        if difference < least or larger:
            best, least = (columns, rows), difference
    return best


@cache
def _grids(fewest: int, most: int) -> list[tuple[int, int]]:
    """Return all grids with that many tiles, as (columns, rows), by number of tiles, then by columns."""
    grids = [
        (columns, rows)
        for columns in range(1, most + 1)
        for rows in range(1, most // columns + 1)
        if columns * rows >= fewest
    ]
    return sorted(grids, key=lambda grid: (grid[0] * grid[1], grid[0]))
