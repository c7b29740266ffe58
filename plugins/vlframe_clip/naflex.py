"""SigLIP 2's image tower for pictures of any size and aspect ratio (NaFlex; Tschannen et al. 2025).

B batch, T frames, N = B * T, C colours, Y X pixels, H W patches, P = H * W, V = Y * X * C values of a patch, D
features.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Siglip2VisionConfig, Siglip2VisionModel

from vlframe import ConfigError, NativePixels, VideoGrid, blocks_before, is_meta, part_config, pretrained_part

SIZES = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_patches", "patch_size")
GREY = (0.5, 0.5, 0.5)


class Siglip2NaFlex(nn.Module):
    """``hidden_states[layer]`` of a NaFlex tower: a plane of patches whose sides follow the picture.

    transformers pads every picture to one number of patches and masks the padding. Here all pictures of a call have one
    size, so nothing is padded or masked. The transformers image processor makes every picture as large as its
    ``max_num_patches`` allows and rounds sides up; ours leaves those between ``min_pixels`` and ``max_pixels`` at about
    their size and rounds to the nearest. If both choose the same size, the patches are the same.
    """

    per_frame = True

    def __init__(
        self, *, source: str | None, architecture: dict[str, Any], layer: int, min_pixels: int, max_pixels: int
    ) -> None:
        super().__init__()
        config = copy.deepcopy(part_config(Siglip2VisionConfig, architecture, source, SIZES))
        config.num_hidden_layers = blocks_before(layer, config.num_hidden_layers)
        config.vision_use_head = False
        tower: Any = Siglip2VisionModel(config) if source is None or is_meta() else _load(source, config)
        self.embeddings: Any = tower.embeddings
        self.encoder: Any = tower.encoder
        self.dim: int = config.hidden_size
        self.patch: int = config.patch_size
        self.pixels = NativePixels(self.patch, min_pixels, max_pixels, GREY, GREY, "bilinear")

    def blocks(self) -> list[nn.Module]:
        """Return the blocks that are run, from the first to the last."""
        return list(self.encoder.layers)

    def grid(self, frames: int, height: int, width: int) -> VideoGrid:
        """Return one plane of patches for each frame. ConfigError for sides that are not whole patches."""
        if height % self.patch or width % self.patch:
            raise ConfigError(
                f"a picture of {height} x {width} pixels is not made of whole patches of {self.patch}; use the "
                "encoder's own front end, or pixels=native"
            )
        return VideoGrid(frames, height // self.patch, width // self.patch)

    def forward(self, pixels_BTCYX: Tensor) -> Tensor:
        """Return ``features_BTHWD`` of clips of one size."""
        grid = self.grid(pixels_BTCYX.shape[1], *pixels_BTCYX.shape[3:])
        pixels_NCYX = pixels_BTCYX.flatten(0, 1).to(self.embeddings.patch_embedding.weight.dtype)
        patches_NPD = self.embeddings.patch_embedding(patches_of(pixels_NCYX, self.patch))
        tokens_NPD = patches_NPD + self._positions(grid.height, grid.width)
        hidden_NPD = self.encoder(inputs_embeds=tokens_NPD).last_hidden_state
        return hidden_NPD.unflatten(1, (grid.height, grid.width)).unflatten(0, pixels_BTCYX.shape[:2])

    def _positions(self, height: int, width: int) -> Tensor:
        """Resize the square table of learned positions to one picture's plane, with transformers' own code."""
        side = self.embeddings.position_embedding_size
        table_HWD = self.embeddings.position_embedding.weight.unflatten(0, (side, side))
        # On the CPU, where it is read, also while a plan is made on the meta device.
        shape = torch.tensor([[height, width]], device="cpu")
        return self.embeddings.resize_positional_embeddings(table_HWD, shape, height * width)


def patches_of(pixels_NCYX: Tensor, patch: int) -> Tensor:
    """Return ``patches_NPV``: reading order, each patch row by row, the colours of a pixel together."""
    size = (pixels_NCYX.shape[2] // patch, patch), (pixels_NCYX.shape[3] // patch, patch)
    pixels_NCHYWX = pixels_NCYX.unflatten(3, size[1]).unflatten(2, size[0])
    return pixels_NCHYWX.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)


def _load(source: str, config: Any) -> nn.Module:
    return pretrained_part(Siglip2VisionModel, source, config, needless=("post_layernorm.", "head."))
