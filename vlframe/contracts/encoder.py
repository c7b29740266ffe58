"""Encoders turn raw data into features.

B batch, T frames, C colours, Y X pixels, H W patches, D features, F audio frames, M audio features, A audio steps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from vlframe.contracts.front_ends import AudioFrontEnd, PixelFrontEnd
    from vlframe.contracts.grids import VideoGrid


class Encoder(Protocol):
    """Turns frames into features. ``forward`` takes any number of frames that ``grid`` accepts; an image is T = 1.

    ``per_frame`` means that every frame is encoded independently of the others. If it is False (joint space-time
    attention, temporal blocks), an image is T = 1 and never a clip of copies.

    A module may say ``frames_per_step``: how many frames of a clip it joins in one time step (a tubelet, a temporal
    patch; 1 if it says nothing). Clips are then filled to a multiple with their last frame, before text is written;
    images stay T = 1. It may offer ``blocks() -> list[nn.Module]`` (what ``layers_from_top`` counts),
    ``enable_gradient_checkpointing()``, and ``intermediates(pixels_BTCYX) -> dict[str, Tensor]``: intermediate results
    of the forward pass by name, to compare with recordings of the original code.
    """

    dim: int  # D
    pixels: PixelFrontEnd
    per_frame: bool

    def grid(self, frames: int, height: int, width: int) -> VideoGrid:
        """Return the shape of ``forward``'s features for ``frames`` pictures of ``height`` x ``width`` pixels, sizes
        that ``pixels.layout`` returns. ``ConfigError`` for an unsupported number of frames.
        """
        ...

    def forward(self, pixels_BTCYX: Tensor) -> Tensor: ...  # features_BTHWD


class AudioEncoder(Protocol):
    """Turns sound into features. It may also offer ``intermediates(features_BFM)``, like an ``Encoder``."""

    dim: int  # D
    audio: AudioFrontEnd

    def steps(self, frames: int) -> int: ...  # A for F audio frames, without running it
    def forward(self, features_BFM: Tensor) -> Tensor: ...  # features_BAD
