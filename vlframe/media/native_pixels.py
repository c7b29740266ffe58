"""Pictures at about their own size: sides are multiples of the patch, the area is within bounds.

T frames, C colours, Y X pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np

from vlframe.contracts.grids import PixelLayout
from vlframe.errors import ConfigError
from vlframe.media.pixels import RESAMPLING, normalise

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class NativePixels:
    """The front end of an encoder that takes pictures of any size.

    Every picture is resized, whole, to sides that are multiples of ``patch`` and an area from ``min_pixels`` to
    ``max_pixels``. A picture within the bounds keeps about its size; others are scaled to the nearer bound.
    """

    patch: int  # pixels
    min_pixels: int  # height x width
    max_pixels: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resampling: Literal["bicubic", "bilinear"] = "bicubic"

    def __post_init__(self) -> None:
        if self.patch < 1 or self.resampling not in RESAMPLING:
            raise ConfigError(
                f"patch={self.patch} must be at least 1 pixel, and resampling={self.resampling!r} one of "
                f"{', '.join(RESAMPLING)}"
            )
        fewest, most = self.patches
        if not fewest <= most:
            raise ConfigError(
                f"no picture of whole {self.patch} x {self.patch} patches has min_pixels={self.min_pixels} to "
                f"max_pixels={self.max_pixels}; one patch has {self.patch**2} pixels: raise max_pixels, or lower "
                "min_pixels"
            )

    @property
    def patches(self) -> tuple[int, int]:
        """Return the fewest and the most patches that a picture may become."""
        area = self.patch**2
        return max(1, math.ceil(self.min_pixels / area)), self.max_pixels // area

    def layout(self, height: int, width: int, frames: int = 1) -> PixelLayout:
        """Return the size to which pictures of this size are resized; clips and images are treated alike."""
        rows, columns = nearest_grid(height / self.patch, width / self.patch, *self.patches)
        return PixelLayout(rows * self.patch, columns * self.patch)

    def prepare(self, frames_TYXC: np.ndarray) -> Tensor:
        """Return uint8 ``frames_TCYX`` of ``layout``'s size, for uint8 frames of any one size."""
        import torch
        from PIL import Image

        size = self.layout(*frames_TYXC.shape[1:3])
        resampling = Image.Resampling[self.resampling.upper()]
        frames_TCYX = np.empty((len(frames_TYXC), 3, size.height, size.width), np.uint8)
        for frame_CYX, frame_YXC in zip(frames_TCYX, frames_TYXC, strict=True):
            image = Image.fromarray(frame_YXC).resize((size.width, size.height), resampling)
            frame_CYX[:] = np.asarray(image).transpose(2, 0, 1)
        return torch.from_numpy(frames_TCYX)

    def normalise(self, frames_TCYX: Tensor) -> Tensor:
        """Return float32 pixels, (value / 255 - mean) / std per colour. Any leading axes."""
        return normalise(frames_TCYX, self.mean, self.std)


@lru_cache(maxsize=4096)
def nearest_grid(rows: float, columns: float, fewest: int, most: int) -> tuple[int, int]:
    """Return the whole numbers of rows and columns, ``fewest`` to ``most`` patches in all, nearest to the wanted ones.

    The wanted ones are first scaled into the bounds. Distance is measured in the logarithms of both sides, so that
    changes of aspect ratio and of area weigh the same.
    """
    scale = math.sqrt(min(max(rows * columns, fewest), most) / (rows * columns))
    rows, columns = rows * scale, columns * scale
    start = min(max(math.floor(rows), 1), most)
    best, least = (1, fewest), math.inf
    for down_or_up in (range(start, 0, -1), range(start + 1, most + 1)):
        for row in down_or_up:
            distance = math.log(row / rows) ** 2
            if distance >= least:  # and so has every row beyond
                break
            low, high = math.ceil(fewest / row), most // row
            for near in (math.floor(columns), math.ceil(columns)):
                column = min(max(near, low), high)
                total = distance + math.log(column / columns) ** 2 if low <= high else math.inf
                if total < least:
                    best, least = (row, column), total
    return best
