"""Turns frames into an encoder's input.

Frames are resized with PIL, bit-equal to the image processors of published encoders, as recordings verify
(docs/pictures.md). Names carry shapes: T frames, C colours, Y X pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np

from vlframe.contracts.grids import PixelLayout
from vlframe.errors import ConfigError

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image
    from torch import Tensor


@dataclass(frozen=True)
class SquarePixels:
    """The front end of encoders that take squares of one size.

    ``resize`` says how frames that are not square are treated: ``crop`` (shortest edge to ``size``, then the centre),
    ``squash`` (both edges to ``size``), or ``pad`` (to a square with the mean colour, then to ``size``).
    """

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resampling: Literal["bicubic", "bilinear"] = "bicubic"
    resize: Literal["crop", "squash", "pad"] = "squash"

    def __post_init__(self) -> None:
        for name, chosen, choices in (("resize", self.resize, RESIZES), ("resampling", self.resampling, RESAMPLING)):
            if chosen not in choices:
                raise ConfigError(f"{name} is {chosen!r}; it can be {', '.join(choices)}")

    def layout(self, height: int, width: int, frames: int = 1) -> PixelLayout:
        return PixelLayout(self.size, self.size)

    def prepare(self, frames_TYXC: np.ndarray) -> Tensor:
        """Resize uint8 RGB frames of any size to uint8 ``frames_TCYX`` of ``size`` x ``size``."""
        import torch
        from PIL import Image

        fit = RESIZES[self.resize]
        frames_TCYX = np.empty((len(frames_TYXC), 3, self.size, self.size), np.uint8)
        for frame_CYX, frame_YXC in zip(frames_TCYX, frames_TYXC, strict=True):
            image = fit(Image.fromarray(frame_YXC), self)
            frame_CYX[:] = np.asarray(image).transpose(2, 0, 1)
        return torch.from_numpy(frames_TCYX)

    def normalise(self, frames_TCYX: Tensor) -> Tensor:
        return normalise(frames_TCYX, self.mean, self.std)


def normalise(frames_TCYX: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Convert uint8 frames to float32 pixels, (value / 255 - mean) / std per colour, on their device. Any
    leading axes.
    """
    import torch

    assert frames_TCYX.dtype == torch.uint8, f"frames are bytes until they are normalised, not {frames_TCYX.dtype}"
    mean_C11, std_C11 = (_constant(tuple(values), frames_TCYX.device) for values in (mean, std))
    return frames_TCYX.to(torch.float32).div_(255).sub_(mean_C11).div_(std_C11)


@lru_cache(maxsize=64)
def _constant(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Return a colour on a device; cached, since copying it there in each step would wait for the device."""
    import torch

    with torch.inference_mode(False):
        return torch.tensor(values, dtype=torch.float32).view(-1, 1, 1).to(device)


def crop(image: Image, spec: SquarePixels) -> Image:
    """Scale the shortest edge to ``size``, then crop the centre."""
    short = min(image.size)
    width, height = (spec.size if edge == short else int(spec.size * edge / short) for edge in image.size)
    left, top = (width - spec.size) // 2, (height - spec.size) // 2
    scaled = image.resize((width, height), _resampling(spec))
    return scaled.crop((left, top, left + spec.size, top + spec.size))


def squash(image: Image, spec: SquarePixels) -> Image:
    """Scale both edges to ``size``."""
    return image.resize((spec.size, spec.size), _resampling(spec))


def pad(image: Image, spec: SquarePixels) -> Image:
    """Pad to a square with bars of the mean colour, then to ``size``."""
    from PIL import Image

    edge = max(image.size)
    square = Image.new("RGB", (edge, edge), tuple(int(value * 255) for value in spec.mean))
    square.paste(image, ((edge - image.width) // 2, (edge - image.height) // 2))
    return squash(square, spec)


RESIZES = {"crop": crop, "squash": squash, "pad": pad}
RESAMPLING = ("bicubic", "bilinear")


def _resampling(spec: SquarePixels) -> int:
    from PIL import Image

    return Image.Resampling[spec.resampling.upper()]
