"""A compact vision transformer (Dosovitskiy et al. 2021), pre-norm, without a class token.

B batch, T frames, N = B * T, C colours, Y X pixels, H W patches, P = H * W, K heads, D features.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlframe import ConfigError, SquarePixels, VideoGrid


class VitTiny(nn.Module):
    """Patches, a learned position each, ``depth`` blocks, a last norm."""

    per_frame = True

    def __init__(self, *, size: int, patch: int, dim: int, depth: int, heads: int, mlp_ratio: float) -> None:
        super().__init__()
        check_sizes(size, patch, dim, depth, heads)
        self.dim = dim
        self.side = size // patch
        self.pixels = SquarePixels(size, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bilinear", "squash")
        self.patches = nn.Conv2d(3, dim, kernel_size=patch, stride=patch)
        self.positions_PD = nn.Parameter(torch.empty(self.side**2, dim))
        self.blocks = nn.Sequential(*[Block(dim, heads, round(dim * mlp_ratio)) for _ in range(depth)])
        self.norm = nn.LayerNorm(dim)
        nn.init.trunc_normal_(self.positions_PD, std=0.5)  # as large as a patch: place is half of what motion is
        self.apply(initialise)

    def grid(self, frames: int, height: int, width: int) -> VideoGrid:
        """Return one plane of patches for each frame."""
        return VideoGrid(frames, self.side, self.side)

    def forward(self, pixels_BTCYX: Tensor) -> Tensor:
        patches_NDHW = self.patches(pixels_BTCYX.flatten(0, 1).to(self.patches.weight.dtype))
        tokens_NPD = patches_NDHW.flatten(2).transpose(1, 2) + self.positions_PD
        features_NPD = self.norm(self.blocks(tokens_NPD))
        return features_NPD.unflatten(1, (self.side, self.side)).unflatten(0, pixels_BTCYX.shape[:2])


class Block(nn.Module):
    """Attention, then an MLP, each on its normed input and added to it."""

    def __init__(self, dim: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.mlp = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))

    def forward(self, tokens_NPD: Tensor) -> Tensor:
        tokens_NPD = tokens_NPD + self.attend(self.attention_norm(tokens_NPD))
        return tokens_NPD + self.mlp(tokens_NPD)

    def attend(self, tokens_NPD: Tensor) -> Tensor:
        q, k, v = self.qkv(tokens_NPD).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed_NKPD = F.scaled_dot_product_attention(q, k, v)
        return self.out(mixed_NKPD.transpose(1, 2).flatten(2))


def check_sizes(size: int, patch: int, dim: int, depth: int, heads: int) -> None:
    """Raise ConfigError for sizes that do not fit each other."""
    if min(size, patch, dim, heads) < 1 or depth < 0:
        raise ConfigError(f"size={size}, patch={patch}, dim={dim}, heads={heads}, depth={depth}: all are above 0")
    if size % patch:
        raise ConfigError(f"size={size} is not a multiple of patch={patch}; take {size // patch * patch or patch}")
    if dim % heads:
        raise ConfigError(f"dim={dim} cannot be shared among heads={heads}; take a multiple")


def initialise(module: nn.Module) -> None:
    """Draw the weights of one layer as this small width wants them."""
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.trunc_normal_(module.weight, std=0.08)  # about 1 / sqrt(dim); 0.02 is for wide models
        assert module.bias is not None
        nn.init.zeros_(module.bias)
