"""VideoMAE's encoder (Tong et al. 2022) from transformers.

B batch, T frames, U tubelets along time, C colours, Y X pixels, H W patches, N = U * H * W tokens, D features.
"""

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import VideoMAEConfig, VideoMAEModel

from vlframe import ConfigError, SquarePixels, VideoGrid, blocks_before, is_meta, part_config
from vlframe_videomae.checkpoint import load

SIZES = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "image_size",
    "patch_size",
    "num_frames",
    "tubelet_size",
)
# ImageNet's, which the published checkpoints were trained with
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


class VideoMae(nn.Module):
    """``hidden_states[layer]`` of a VideoMAE encoder: tubelets of ``tubelet_size`` frames that all see each other.

    A clip has any multiple of ``tubelet_size`` frames. Positions are sinusoids of a tubelet's place in reading order,
    frame after frame, so that they extend to clips longer than the checkpoint's.

    A single frame is an image and takes a separate path: the kernel summed over time, at the first time step. That is
    one tubelet with equal frames, the nearest to a still picture that the encoder was trained on; it is
    neither a clip of copies nor equal to one.
    """

    per_frame = False

    def __init__(self, *, source: str | None, architecture: dict[str, Any], layer: int, resize: str) -> None:
        super().__init__()
        config = _cut(part_config(VideoMAEConfig, architecture, source, SIZES), layer)
        model = VideoMAEModel(config) if source is None or is_meta() else load(source, config)
        self.projection: nn.Conv3d = model.embeddings.patch_embeddings.projection
        self.encoder = model.encoder
        self.dim: int = config.hidden_size
        self.frames_per_step: int = config.tubelet_size
        self.side: int = config.image_size // config.patch_size
        self.pixels = SquarePixels(config.image_size, MEAN, STD, "bilinear", resize)

    def blocks(self) -> list[nn.Module]:
        """Return the blocks that are run, from the first to the last."""
        return list(self.encoder.layer)

    def grid(self, frames: int, height: int, width: int) -> VideoGrid:
        """Return one plane for each tubelet, one for an image. ConfigError for frames that do not fill tubelets."""
        if frames > 1 and frames % self.frames_per_step:
            raise ConfigError(
                f"this encoder takes clips of whole tubelets of {self.frames_per_step} frames, and this one has "
                f"{frames}; repeat its last frame (frames_per_step)"
            )
        return VideoGrid(max(1, frames // self.frames_per_step), self.side, self.side)

    def forward(self, pixels_BTCYX: Tensor) -> Tensor:
        """Return ``features_BUHWD``."""
        grid = self.grid(pixels_BTCYX.shape[1], *pixels_BTCYX.shape[3:])
        tokens_BND = self._embed(pixels_BTCYX.to(self.projection.weight.dtype))
        positions_ND = sinusoids(grid.positions, self.dim, tokens_BND.device)
        hidden_BND = self.encoder(tokens_BND + positions_ND.to(tokens_BND.dtype)).last_hidden_state
        return hidden_BND.unflatten(1, (grid.frames, grid.height, grid.width))

    def _embed(self, pixels_BTCYX: Tensor) -> Tensor:
        """Turn tubelets into ``tokens_BND``, without positions."""
        if pixels_BTCYX.shape[1] == 1:
            kernel_DCYX = self.projection.weight.sum(2)
            features_BDHW = F.conv2d(pixels_BTCYX[:, 0], kernel_DCYX, self.projection.bias, self.projection.stride[1:])
            return features_BDHW.flatten(2).transpose(1, 2)
        return self.projection(pixels_BTCYX.transpose(1, 2)).flatten(2).transpose(1, 2)


def sinusoids(positions: int, dim: int, device: torch.device) -> Tensor:
    """Return float32 ``table_ND``: feature 2i is a sine and 2i + 1 a cosine of position / 10000 ^ (2i / dim)."""
    even_D = torch.arange(dim, device=device, dtype=torch.float64) // 2 * 2
    angles_ND = torch.arange(positions, device=device, dtype=torch.float64)[:, None] / 10000 ** (even_D / dim)
    table_ND = angles_ND.sin()
    table_ND[:, 1::2] = angles_ND[:, 1::2].cos()
    return table_ND.float()


def _cut(config: Any, layer: int) -> Any:
    """Return the config of an encoder that ends with hidden state ``layer``, without the norm after the last block."""
    if not isinstance(config.image_size, int) or not isinstance(config.patch_size, int):
        raise ConfigError(
            f"image_size={config.image_size} and patch_size={config.patch_size}: only square pictures and patches can "
            "be used; give one number each"
        )
    config = copy.deepcopy(config)
    config.num_hidden_layers = blocks_before(layer, config.num_hidden_layers)
    config.use_mean_pooling = True  # transformers' word for a model without the last norm
    return config
