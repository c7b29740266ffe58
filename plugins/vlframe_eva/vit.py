"""EVA's ViT (lavis/models/eva_vit.py, VisionTransformer) and the norm that BLIP-2 adds after it.

B batch, T frames, N = B * T, C colours, Y X pixels, H W patches, P tokens of a frame (class token first), D features.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from vlframe import ConfigError, SquarePixels, VideoGrid

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # CLIP's
INIT_STD = 0.02
EPS = 1e-6  # of the norms within the tower; ln_vision has torch's default, 1e-5


class EvaViT(nn.Module):
    """Pre-norm blocks over the patches of each frame and a class token, no norm at the end, then ``ln_vision``."""

    per_frame = True

    def __init__(
        self,
        *,
        hidden_size: int,
        intermediate_size: int,
        num_hidden_layers: int,
        num_attention_heads: int,
        image_size: int,
        patch_size: int,
        select: str,
        resize: str,
    ) -> None:
        super().__init__()
        check_sizes(hidden_size, intermediate_size, num_hidden_layers, num_attention_heads, image_size, patch_size)
        if select not in ("cls_patch", "patch"):
            raise ConfigError(f"encoder.select is {select!r}; it can be cls_patch or patch")
        self.dim = hidden_size
        self.side = image_size // patch_size
        self.sequence = select == "cls_patch"
        self.pixels = front_end(image_size, resize)
        self.visual_encoder = ViT(
            hidden_size,
            self.side**2,
            nn.Conv2d(3, hidden_size, patch_size, patch_size),
            [Block(hidden_size, intermediate_size, num_attention_heads) for _ in range(num_hidden_layers)],
        )
        self.ln_vision = nn.LayerNorm(hidden_size)
        self.recompute = False

    def grid(self, frames: int, height: int, width: int) -> VideoGrid:
        """Return the class token and the patches of each frame as a sequence, or the patches as a plane."""
        if self.sequence:
            return VideoGrid(frames, 1, 1 + self.side**2, sequence=True)
        return VideoGrid(frames, self.side, self.side)

    def blocks(self) -> list[nn.Module]:
        return list(self.visual_encoder.blocks)

    def enable_gradient_checkpointing(self) -> None:
        """Recompute blocks in the backward pass instead of keeping their activations."""
        self.recompute = True

    def intermediates(self, pixels_BTCYX: Tensor) -> dict[str, Tensor]:
        """Return ``vit_features``, the input of ``ln_vision``: ``tokens_NPD``."""
        return {"vit_features": self._run(pixels_BTCYX)}

    def forward(self, pixels_BTCYX: Tensor) -> Tensor:
        tokens_BTPD = self.ln_vision(self._run(pixels_BTCYX)).unflatten(0, pixels_BTCYX.shape[:2])
        if self.sequence:
            return tokens_BTPD[:, :, None]
        return tokens_BTPD[:, :, 1:].unflatten(2, (self.side, self.side))

    def _run(self, pixels_BTCYX: Tensor) -> Tensor:
        tower = self.visual_encoder
        patches_NDHW = tower.patch_embed.proj(pixels_BTCYX.flatten(0, 1).to(tower.pos_embed.dtype))
        tokens_NPD = tower.embed(patches_NDHW.flatten(2).transpose(1, 2))
        for block in tower.blocks:
            tokens_NPD = again(self.recompute, block, tokens_NPD)
        return tokens_NPD


class ViT(nn.Module):
    """The parameters, under the names of the checkpoints; ``blocks`` are run by the encoder."""

    def __init__(self, dim: int, patches: int, projection: nn.Module, blocks: list[nn.Module]) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.empty(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.empty(1, patches + 1, dim))
        self.patch_embed = PatchEmbed(projection)
        self.blocks = nn.ModuleList(blocks)
        nn.init.trunc_normal_(self.cls_token, std=INIT_STD)
        nn.init.trunc_normal_(self.pos_embed, std=INIT_STD)

    def embed(self, patches_NPD: Tensor) -> Tensor:
        """Prepend the class token to the patches and add positions."""
        tokens_NPD = torch.cat([self.cls_token.expand(len(patches_NPD), -1, -1), patches_NPD], 1)
        return tokens_NPD + self.pos_embed


class PatchEmbed(nn.Module):
    """One convolution; a module only for its name in the checkpoints."""

    def __init__(self, projection: nn.Module) -> None:
        super().__init__()
        self.proj = projection


class Block(nn.Module):
    """Attention and an MLP, each after a norm and added to its input. ``tokens_NPD`` in and out."""

    def __init__(self, dim: int, hidden: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=EPS)
        self.attn = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=EPS)
        self.mlp = MLP(dim, hidden)

    def forward(self, tokens_NPD: Tensor) -> Tensor:
        tokens_NPD = tokens_NPD + self.attn(self.norm1(tokens_NPD))
        return tokens_NPD + self.mlp(self.norm2(tokens_NPD))


class Attention(nn.Module):
    """One matrix for queries, keys and values; keys have no bias, not even a trained one."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(dim))
        self.v_bias = nn.Parameter(torch.zeros(dim))
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens_NPD: Tensor) -> Tensor:
        bias = torch.cat([self.q_bias, torch.zeros_like(self.v_bias), self.v_bias])
        mixed = functional.linear(tokens_NPD, self.qkv.weight, bias)
        query, key, value = mixed.unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        read = functional.scaled_dot_product_attention(query, key, value)
        return self.proj(read.transpose(1, 2).flatten(2))


class MLP(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, tokens_NPD: Tensor) -> Tensor:
        return self.fc2(functional.gelu(self.fc1(tokens_NPD)))


def again(recompute: bool, block: Callable[..., Tensor], *inputs: Tensor | int) -> Tensor:
    """Run a block; with ``recompute``, keep none of its activations for the backward pass."""
    if recompute and torch.is_grad_enabled():
        kept: Tensor = checkpoint(block, *inputs, use_reentrant=False)
        return kept
    return block(*inputs)


def check_sizes(hidden: int, intermediate: int, layers: int, heads: int, image: int, patch: int) -> None:
    """Raise ConfigError for sizes with which no tower can be built."""
    if min(hidden, intermediate, layers, heads, patch) < 1 or hidden % heads or image < patch:
        raise ConfigError(
            f"encoder: hidden_size={hidden} must be a multiple of num_attention_heads={heads}, image_size={image} at "
            f"least patch_size={patch}, and intermediate_size={intermediate}, num_hidden_layers={layers} at least 1"
        )


def front_end(size: int, resize: str) -> SquarePixels:
    """Return square pixels with CLIP's colour statistics. ConfigError for an unknown ``resize``."""
    if resize not in ("crop", "squash", "pad"):
        raise ConfigError(f"encoder.resize is {resize!r}; it can be crop, squash, pad")
    return SquarePixels(size, MEAN, STD, "bicubic", resize)
