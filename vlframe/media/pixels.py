"""Frames to an encoder's input.

Bit-equal with what CLIPImageProcessor and SiglipImageProcessor give for the official VideoLLaMA 2 code, which resizes
bytes with PIL. Names carry shapes: T frames, C colours, Y X pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from vlframe.contracts import PixelSpec


def resize(frames_TYXC: np.ndarray, spec: PixelSpec) -> Tensor:
    """uint8 RGB frames of any size -> uint8 ``frames_TCYX`` of ``spec.size`` x ``spec.size``."""
    import torch
    from PIL import Image

    fit = FITS[spec.fit]
    frames_TCYX = np.empty((len(frames_TYXC), 3, spec.size, spec.size), np.uint8)
    for frame_CYX, frame_YXC in zip(frames_TCYX, frames_TYXC, strict=True):
        image = fit(Image.fromarray(frame_YXC), spec)
        frame_CYX[:] = np.asarray(image).transpose(2, 0, 1)
    return torch.from_numpy(frames_TCYX)


def normalise(frames_TCYX: Tensor, spec: PixelSpec) -> Tensor:
    """uint8 frames -> float32 pixels, (value / 255 - mean) / std per colour, on the frames' device.

    Frames of floating point are taken to be normalised already.
    """
    import torch

    if frames_TCYX.is_floating_point():
        return frames_TCYX

    mean_C11, std_C11 = (
        torch.tensor(values, dtype=torch.float32, device=frames_TCYX.device).view(-1, 1, 1)
        for values in (spec.mean, spec.std)
    )
    return frames_TCYX.to(torch.float32).div_(255).sub_(mean_C11).div_(std_C11)


def crop(image: Image, spec: PixelSpec) -> Image:
    """Shortest edge to ``size``, then the centre."""
    short = min(image.size)
    width, height = (spec.size if edge == short else int(spec.size * edge / short) for edge in image.size)
    left, top = (width - spec.size) // 2, (height - spec.size) // 2
    scaled = image.resize((width, height), _resampling(spec))
    return scaled.crop((left, top, left + spec.size, top + spec.size))


def squash(image: Image, spec: PixelSpec) -> Image:
    """Both edges to ``size``."""
    return image.resize((spec.size, spec.size), _resampling(spec))


def pad(image: Image, spec: PixelSpec) -> Image:
    """To a square with bars of the mean colour, then to ``size`` (VideoLLaMA 2, mm_utils.expand2square)."""
    from PIL import Image

    edge = max(image.size)
    square = Image.new("RGB", (edge, edge), tuple(int(value * 255) for value in spec.mean))
    square.paste(image, ((edge - image.width) // 2, (edge - image.height) // 2))
    return squash(square, spec)


FITS = {"crop": crop, "squash": squash, "pad": pad}


def _resampling(spec: PixelSpec) -> int:
    from PIL import Image

    return {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}[spec.resampling]
