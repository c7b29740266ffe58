"""mPLUG-Owl's image and video tower (mplug_owl_video/modeling_mplug_owl.py, MplugOwlVisionModel).

B batch, T frames, N = B * T, C colours, Y X pixels, H W patches, P tokens of a frame (class token first), D features.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from vlframe import ConfigError, SquarePixels, VideoGrid
from vlframe_mplug_owl.settings import check_choice

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # CLIP's
INIT_STD = 0.02


class Tower(nn.Module):
    """Pre-norm blocks whose frames interact through a small temporal convolution, and a norm on all tokens.

    The temporal module's output is added to its input, and includes the unchanged class token: that token is doubled
    before every block of a clip, as in the original. An image skips these modules.
    """

    def __init__(
        self,
        *,
        hidden_size: int,
        intermediate_size: int,
        num_hidden_layers: int,
        num_attention_heads: int,
        image_size: int,
        patch_size: int,
        layer_norm_eps: float,
        temporal: bool,
        select: str,
        resize: str,
    ) -> None:
        super().__init__()
        check_choice("encoder.select", select, ("cls_patch", "patch"))
        check_choice("encoder.resize", resize, ("crop", "squash", "pad"))
        sizes = (hidden_size, intermediate_size, num_hidden_layers, num_attention_heads, image_size, patch_size)
        if min(sizes) < 1 or hidden_size % num_attention_heads or image_size < patch_size:
            raise ConfigError(
                f"encoder mplug_owl_vit: hidden_size={hidden_size} must be a multiple of num_attention_heads="
                f"{num_attention_heads}, image_size={image_size} at least patch_size={patch_size}, all at least 1"
            )
        self.dim = hidden_size
        self.side = image_size // patch_size
        self.sequence = select == "cls_patch"
        self.per_frame = not temporal
        self.pixels = SquarePixels(image_size, MEAN, STD, "bicubic", resize)
        self.embeddings = Embeddings(hidden_size, self.side**2, patch_size, layer_norm_eps)
        self.encoder = nn.ModuleDict()  # `encoder.layers`, the name in the checkpoints
        self.encoder["layers"] = nn.ModuleList(
            Block(hidden_size, intermediate_size, num_attention_heads, layer_norm_eps, temporal)
            for _ in range(num_hidden_layers)
        )
        self.post_layernorm = nn.LayerNorm(hidden_size, eps=layer_norm_eps)
        self.recompute = False
        self.apply(initialise)

    def grid(self, frames: int, height: int, width: int) -> VideoGrid:
        """Return the class token and the patches of each frame as a sequence, or the patches as a plane."""
        if self.sequence:
            return VideoGrid(frames, 1, 1 + self.side**2, sequence=True)
        return VideoGrid(frames, self.side, self.side)

    def _layers(self) -> list[Any]:
        layers: Any = self.encoder["layers"]
        return list(layers)

    def blocks(self) -> list[nn.Module]:
        return self._layers()

    def enable_gradient_checkpointing(self) -> None:
        """Recompute blocks in the backward pass instead of keeping their activations."""
        self.recompute = True

    def intermediates(self, pixels_BTCYX: Tensor) -> dict[str, Tensor]:
        """Return ``vit_embeddings``, the first block's ``layer0`` and what is added before it, ``layer0_temporal``:
        each ``tokens_BTPD``."""
        embedded_BTPD = self.embeddings(pixels_BTCYX)
        first = self._layers()[0]
        found = {"vit_embeddings": embedded_BTPD, "layer0": first(embedded_BTPD)}
        return found if first.temporal is None else {**found, "layer0_temporal": first.temporal(embedded_BTPD)}

    def forward(self, pixels_BTCYX: Tensor) -> Tensor:
        hidden_BTPD = self.embeddings(pixels_BTCYX)
        for block in self._layers():
            again = self.recompute and torch.is_grad_enabled()
            hidden_BTPD = checkpoint(block, hidden_BTPD, use_reentrant=False) if again else block(hidden_BTPD)
        hidden_BTPD = self.post_layernorm(hidden_BTPD)
        if self.sequence:
            return hidden_BTPD[:, :, None]
        return hidden_BTPD[:, :, 1:].unflatten(2, (self.side, self.side))


class Embeddings(nn.Module):
    """Patches, preceded by a class token, learned positions, a norm."""

    def __init__(self, dim: int, patches: int, patch: int, eps: float) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.empty(1, 1, dim))
        self.patch_embed = nn.Conv2d(3, dim, patch, patch, bias=False)
        self.position_embedding = nn.Parameter(torch.empty(1, patches + 1, dim))
        self.pre_layernorm = nn.LayerNorm(dim, eps=eps)

    def forward(self, pixels_BTCYX: Tensor) -> Tensor:
        pixels_NCYX = pixels_BTCYX.flatten(0, 1).to(self.patch_embed.weight.dtype)
        patches_NPD = self.patch_embed(pixels_NCYX).flatten(2).transpose(1, 2)
        tokens_NPD = torch.cat([self.cls_token.expand(len(patches_NPD), -1, -1), patches_NPD], 1)
        return self.pre_layernorm(tokens_NPD + self.position_embedding).unflatten(0, pixels_BTCYX.shape[:2])


class Block(nn.Module):
    """The temporal module if there is one, attention within each frame, an MLP. ``tokens_BTPD`` in and out."""

    def __init__(self, dim: int, hidden: int, heads: int, eps: float, temporal: bool) -> None:
        super().__init__()
        self.temporal = LocalTemporal(dim) if temporal else None
        self.self_attn = Attention(dim, heads)
        self.input_layernorm = nn.LayerNorm(dim, eps=eps)
        self.mlp = MLP(dim, hidden)
        self.post_attention_layernorm = nn.LayerNorm(dim, eps=eps)

    def forward(self, tokens_BTPD: Tensor) -> Tensor:
        if self.temporal is not None and tokens_BTPD.shape[1] > 1:
            tokens_BTPD = tokens_BTPD + self.temporal(tokens_BTPD)
        tokens_NPD = tokens_BTPD.flatten(0, 1)
        tokens_NPD = tokens_NPD + self.self_attn(self.input_layernorm(tokens_NPD))
        tokens_NPD = tokens_NPD + self.mlp(self.post_attention_layernorm(tokens_NPD))
        return tokens_NPD.unflatten(0, tokens_BTPD.shape[:2])


class LocalTemporal(nn.Module):
    """mPLUG-2's local temporal module: a bottleneck with a depthwise convolution over three frames, on the patches.

    The last map is zero-initialised, as in the original; a checkpoint for images then gives the same weights for clips.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.ln = nn.LayerNorm(dim)
        self.down_proj = nn.Conv3d(dim, dim // 2, 1)
        self.conv = nn.Conv3d(dim // 2, dim // 2, (3, 1, 1), padding=(1, 0, 0), groups=dim // 2)
        self.up_proj = nn.Conv3d(dim // 2, dim, 1)

    def forward(self, tokens_BTPD: Tensor) -> Tensor:
        patches_BDTP1 = self.ln(tokens_BTPD[:, :, 1:]).permute(0, 3, 1, 2)[..., None]
        mixed_BDTP1 = self.up_proj(quick_gelu(self.conv(self.down_proj(patches_BDTP1))))
        return torch.cat([tokens_BTPD[:, :, :1], mixed_BDTP1[..., 0].permute(0, 2, 3, 1)], 2)


class Attention(nn.Module):
    """One matrix in which query, key and value of each head are adjacent."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_key_value = nn.Linear(dim, 3 * dim)
        self.dense = nn.Linear(dim, dim)

    def forward(self, tokens_NPD: Tensor) -> Tensor:
        mixed = self.query_key_value(tokens_NPD).unflatten(2, (self.heads, 3, -1)).permute(3, 0, 2, 1, 4)
        read = functional.scaled_dot_product_attention(mixed[0], mixed[1], mixed[2])
        return self.dense(read.transpose(1, 2).flatten(2))


class MLP(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, tokens_NPD: Tensor) -> Tensor:
        return self.fc2(quick_gelu(self.fc1(tokens_NPD)))


def quick_gelu(values: Tensor) -> Tensor:
    """Return x * sigmoid(1.702 x), CLIP's approximation."""
    return values * torch.sigmoid(1.702 * values)


def initialise(module: nn.Module) -> None:
    """Draw the original's random weights: N(0, 0.02), biases 0, the last temporal map 0."""
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.normal_(module.weight, std=INIT_STD)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, Embeddings):
        nn.init.trunc_normal_(module.position_embedding, std=INIT_STD)
        nn.init.trunc_normal_(module.cls_token, std=INIT_STD)
    elif isinstance(module, LocalTemporal):
        for parameter in module.up_proj.parameters():
            nn.init.zeros_(parameter)
