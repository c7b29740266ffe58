"""A random part of frames, in training. T frames, C colours, Y X pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vlframe import ConfigError, PixelLayout, SquarePixels

RATIO = (3 / 4, 4 / 3)  # of width to height, as in torchvision
TRIES = 10


@dataclass(frozen=True)
class Cut:
    """Torchvision's ``RandomResizedCrop`` and ``RandomHorizontalFlip``: the same part of all frames of a clip, of an
    ``area`` (shares of the picture's) and a ratio of sides that are drawn.
    """

    area: tuple[float, float]
    mirror: float

    def frames(self, frames_TYXC: np.ndarray, size: int, generator: np.random.Generator) -> Tensor:
        """Return uint8 ``frames_TCYX`` of ``size``, resampled bicubically."""
        height, width = frames_TYXC.shape[1:3]
        box = self.box(height, width, generator)
        mirrored = generator.random() < self.mirror
        kept = np.empty((len(frames_TYXC), 3, size, size), np.uint8)
        for kept_CYX, frame_YXC in zip(kept, frames_TYXC, strict=True):
            picture = Image.fromarray(frame_YXC).crop(box).resize((size, size), Image.Resampling.BICUBIC)
            kept_YXC = np.asarray(picture)[:, :: -1 if mirrored else 1]
            kept_CYX[:] = kept_YXC.transpose(2, 0, 1)
        return torch.from_numpy(kept)

    def box(self, height: int, width: int, generator: np.random.Generator) -> tuple[int, int, int, int]:
        """Draw left, top, right and bottom. A picture that none of some draws fits in gives the largest centre whose
        ratio is allowed.
        """
        for _ in range(TRIES):
            area = height * width * generator.uniform(*self.area)
            ratio = math.exp(generator.uniform(math.log(RATIO[0]), math.log(RATIO[1])))
            wide, high = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < wide <= width and 0 < high <= height:
                left, top = int(generator.integers(width - wide + 1)), int(generator.integers(height - high + 1))
                return left, top, left + wide, top + high
        wide = min(width, round(height * RATIO[1]))
        high = min(height, round(width / RATIO[0]))
        left, top = (width - wide) // 2, (height - high) // 2
        return left, top, left + wide, top + high


def cut_of(key: str, area: Sequence[float], mirror: float) -> Cut:
    """Return the cut of these settings. ConfigError for shares that are not two numbers from above 0 to 1, or a
    ``mirror`` that is no probability.
    """
    if len(area) != 2 or not 0 < area[0] <= area[1] <= 1:
        raise ConfigError(f"pixels.{key} is {list(area)}; it is two shares of the area, above 0 and at most 1, the "
                          "smaller first")  # fmt: skip
    if not 0 <= mirror <= 1:
        raise ConfigError(f"pixels.mirror is {mirror}; it is a probability, between 0 and 1")
    return Cut((float(area[0]), float(area[1])), mirror)


class RandomCrop:
    """The encoder's own front end ``own``; in training a random part of frames, resized to its size."""

    def __init__(self, *, own: SquarePixels, area: Sequence[float], mirror: float) -> None:
        if not isinstance(own, SquarePixels):
            raise ConfigError(
                f"pixels 'random_crop' needs an encoder of a fixed square size, and this one's front end is "
                f"{type(own).__name__}; leave pixels unset"
            )
        self.own = own
        self.cut = cut_of("area", area, mirror)

    def layout(self, height: int, width: int, frames: int = 1) -> PixelLayout:
        return self.own.layout(height, width, frames)

    def prepare(self, frames_TYXC: np.ndarray) -> Tensor:
        return self.own.prepare(frames_TYXC)

    def prepare_to_train(self, frames_TYXC: np.ndarray, generator: np.random.Generator) -> Tensor:
        return self.cut.frames(frames_TYXC, self.own.size, generator)

    def normalise(self, frames_TCYX: Tensor) -> Tensor:
        return self.own.normalise(frames_TCYX)
