"""A branch: encoder followed by connector, for one sense.

B batch, T frames, C colours, Y X pixels, H W patches, D features, F audio frames, M audio features, A audio steps,
N media tokens, E embedding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from vlframe.contracts import AudioConnector, AudioEncoder, Connector, Encoder


def is_trained(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())


def _run(encoder: nn.Module, inputs: Tensor) -> Tensor:
    """A frozen encoder keeps no graph; whatever follows it still may."""
    with torch.set_grad_enabled(torch.is_grad_enabled() and is_trained(encoder)):
        return encoder(inputs)


def encode_video(encoder: Encoder, connector: Connector, frames_BTCYX: Tensor) -> Tensor:
    """uint8 clips of equal length -> tokens_BNE."""
    pixels_BTCYX = encoder.pixels.normalise(frames_BTCYX)
    return connector(_run(encoder, pixels_BTCYX))


def encode_images(encoder: Encoder, connector: Connector, frames_B1CYX: Tensor, frames: int) -> Tensor:
    """uint8 images -> tokens_BNE. The tower sees an image once; only its features are repeated, if at all.

    Equal to encoding a clip of ``frames`` copies, because encoders see each frame on its own.
    """
    features_B1HWD = _run(encoder, encoder.pixels.normalise(frames_B1CYX))
    if not connector.expands_images:
        return connector(features_B1HWD)
    if hasattr(connector, "still"):
        return connector.still(features_B1HWD[:, 0], frames)
    return connector(features_B1HWD.expand(-1, frames, -1, -1, -1))


def encode_audio(encoder: AudioEncoder, connector: AudioConnector, features_BFM: Tensor) -> Tensor:
    """Front-end features of sounds of equal length -> tokens_BNE."""
    return connector(_run(encoder, features_BFM))


def video_tokens(encoder: Encoder, connector: Connector, frames: int) -> int:
    """N of a clip, by asking the parts."""
    return connector.tokens(encoder.grid(frames))


def image_tokens(encoder: Encoder, connector: Connector, frames: int) -> int:
    """N of an image, which is a clip of ``frames`` copies where the connector wants one."""
    return connector.tokens(encoder.grid(frames if connector.expands_images else 1))


def audio_tokens(encoder: AudioEncoder, connector: AudioConnector, features: int) -> int:
    """N of a sound of ``features`` front-end frames."""
    return connector.tokens(encoder.steps(features))
