"""Pictures squashed to a square by nearest-pixel sampling, without averaging. T frames, C colours, Y X pixels."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from vlframe import Comparison, ConfigError, PixelLayout, SquarePixels
from vlframe_pixels.replay import compared, own_front_end


@dataclass(frozen=True)
class Nearest:
    """Resizes both edges to the size of the encoder's own front end ``own``, and keeps its colour statistics.

    Pixel i of n comes from pixel floor(i * edge / n), the default of ``torch.nn.functional.interpolate``.
    """

    own: SquarePixels

    def __post_init__(self) -> None:
        if not isinstance(self.own, SquarePixels):
            raise ConfigError(
                f"pixels 'nearest' needs an encoder of a fixed square size, and this one's front end is "
                f"{type(self.own).__name__}; leave pixels unset, or take pixels=native"
            )

    @staticmethod
    def verify(recording: Path) -> Iterator[Comparison]:
        """Compare Video-ChatGPT's resized frames (eval/model_utils.py), and their normalisation by Video-LLaMA
        (processors/video_processor.py), which a decoder resizes there.
        """
        own = own_front_end(recording)
        if own is None:
            return
        ours = Nearest(own)
        yield from compared(
            recording, "videochatgpt_resize", lambda frames: ours.prepare(frames.numpy()).permute(0, 2, 3, 1)
        )
        yield from compared(
            recording, "videollama_eval", lambda frames: ours.normalise(ours.prepare(frames.numpy())).transpose(0, 1)
        )

    def layout(self, height: int, width: int, frames: int = 1) -> PixelLayout:
        return self.own.layout(height, width, frames)

    def prepare(self, frames_TYXC: np.ndarray) -> Tensor:
        """Return uint8 ``frames_TCYX`` of the encoder's size."""
        frames_TCYX = torch.from_numpy(np.ascontiguousarray(frames_TYXC.transpose(0, 3, 1, 2)))
        return interpolate(frames_TCYX, size=(self.own.size, self.own.size))

    def normalise(self, frames_TCYX: Tensor) -> Tensor:
        """Return float pixels as the encoder's own front end gives them."""
        return self.own.normalise(frames_TCYX)
