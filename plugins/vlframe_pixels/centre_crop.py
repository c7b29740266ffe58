"""Crop the centre of frames as torchvision does. T frames, C colours, Y X pixels."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vlframe import Comparison, ConfigError, PixelLayout, SquarePixels
from vlframe_pixels.random_crop import cut_of
from vlframe_pixels.replay import compared, own_front_end


class CentreCrop:
    """Resizes the shortest edge to the size of the encoder's own front end ``own``, then crops the centre.

    This is torchvision's ``Resize`` and ``CenterCrop``: half a pixel is rounded to the even neighbour, where the
    ``crop`` of encoders rounds down. ``own`` normalises, in training with ``training_mean`` and ``training_std``. With
    ``training_area``, training sees a random part instead of the centre.
    """

    def __init__(
        self,
        *,
        own: SquarePixels,
        training_mean: Sequence[float] | None,
        training_std: Sequence[float] | None,
        training_area: Sequence[float] | None,
        mirror: float,
    ) -> None:
        if not isinstance(own, SquarePixels):
            raise ConfigError(
                f"pixels 'centre_crop' needs an encoder of a fixed square size, and this one's front end is "
                f"{type(own).__name__}; leave pixels unset, or take pixels=native"
            )
        self.own = own
        # Whether a front end varies pictures in training is told by its having the method.
        if training_area is not None:
            self.cut = cut_of("training_area", training_area, mirror)
            self.prepare_to_train = self._random_part
        self.trained = SquarePixels(
            own.size,
            _colours("training_mean", training_mean, own.mean),
            _colours("training_std", training_std, own.std),
        )

    @staticmethod
    def verify(recording: Path) -> Iterator[Comparison]:
        """Compare VideoChat's frames, whose colours lie one after the other (video_transformers.py)."""
        own = own_front_end(recording)
        if own is None:
            return
        ours = CentreCrop(own=own, training_mean=None, training_std=None, training_area=None, mirror=0.0)

        def made(frames_TYXC: Tensor) -> Tensor:
            return ours.normalise(ours.prepare(frames_TYXC.numpy())).flatten(0, 1)

        yield from compared(recording, "videochat_eval", made)

    def layout(self, height: int, width: int, frames: int = 1) -> PixelLayout:
        return self.own.layout(height, width, frames)

    def prepare(self, frames_TYXC: np.ndarray) -> Tensor:
        """Return uint8 ``frames_TCYX`` of the encoder's size."""
        size = self.own.size
        kept = np.empty((len(frames_TYXC), 3, size, size), np.uint8)
        for kept_CYX, frame_YXC in zip(kept, frames_TYXC, strict=True):
            kept_CYX[:] = np.asarray(self._cut(Image.fromarray(frame_YXC))).transpose(2, 0, 1)
        return torch.from_numpy(kept)

    def _random_part(self, frames_TYXC: np.ndarray, generator: np.random.Generator) -> Tensor:
        """Return uint8 ``frames_TCYX`` of a random part, the same of all frames."""
        return self.cut.frames(frames_TYXC, self.own.size, generator)

    def normalise(self, frames_TCYX: Tensor) -> Tensor:
        """Return float pixels, normalised as by the encoder's own front end."""
        return self.own.normalise(frames_TCYX)

    def normalise_to_train(self, frames_TCYX: Tensor) -> Tensor:
        """Return float pixels, normalised for training."""
        return self.trained.normalise(frames_TCYX)

    def _cut(self, image: Image.Image) -> Image.Image:
        size, short = self.own.size, min(image.size)
        width, height = (size if edge == short else int(size * edge / short) for edge in image.size)
        left, top = round((width - size) / 2), round((height - size) / 2)
        scaled = image.resize((width, height), Image.Resampling[self.own.resampling.upper()])
        return scaled.crop((left, top, left + size, top + size))


def _colours(name: str, given: Sequence[float] | None, own: tuple[float, float, float]) -> tuple[float, float, float]:
    """Return three numbers. ConfigError for another count, or a std that is not above 0."""
    if given is None:
        return own
    if len(given) != 3 or (name.endswith("std") and min(given) <= 0):
        raise ConfigError(
            f"pixels.{name} is {list(given)}; it has three numbers, for red, green and blue"
            + (", above 0" if name.endswith("std") else "")
        )
    red, green, blue = (float(value) for value in given)
    return red, green, blue
