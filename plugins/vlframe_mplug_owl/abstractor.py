"""mPLUG-Owl's visual abstractor (mplug_owl_video/modeling_mplug_owl.py, MplugOwlVisualAbstractorModel).

B batch, T frames, H W patches, D features, Q queries, K keys, J width, N tokens, E embedding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vlframe import ConfigError, VideoGrid

INIT_STD = 0.02
LITERAL, MULTIPLE = 2816, 256


class Abstractor(nn.Module):
    """Spatial queries, and for more than one frame temporal queries, read all positions of a clip jointly.

    The n-th spatial and the n-th temporal query are summed after a linear map of each; a learned end token follows. Any
    grid is accepted, including sequences. An image has no temporal queries.
    """

    expands_images = False

    def __init__(
        self,
        *,
        in_dim: int,
        out_dim: int,
        queries: int,
        depth: int,
        heads: int,
        width: int | None,
        intermediate_size: int,
        layer_norm_eps: float,
        dropout: float,
        temporal: bool,
    ) -> None:
        super().__init__()
        width = width or in_dim
        if min(queries, depth, heads, width, intermediate_size) < 1 or width % heads:
            raise ConfigError(
                f"connector abstractor: a width of {width} (null: that of the features) cannot be split over heads="
                f"{heads}, or one of queries={queries}, depth={depth}, intermediate_size={intermediate_size} is below "
                "1; set connector.width to a multiple of connector.heads"
            )
        self.input = nn.Linear(in_dim, width) if width != in_dim else None
        self.query_tokens = nn.Parameter(torch.empty(1, queries, width))
        self.temporal_query_tokens = nn.Parameter(torch.empty(1, queries, width)) if temporal else None
        self.encoder = nn.ModuleDict()  # `encoder.layers`, the name in the checkpoints
        self.encoder["layers"] = nn.ModuleList(
            Layer(width, heads, mlp_width(intermediate_size), layer_norm_eps, dropout) for _ in range(depth)
        )
        self.visual_fc = nn.Linear(width, out_dim)
        self.temporal_visual_fc = nn.Linear(width, out_dim) if temporal else None
        self.vit_eos = nn.Parameter(torch.empty(1, 1, out_dim))
        self.apply(initialise)
        # The original's queries start at zero, where they stay equal: all have the same gradient.
        for parameter in (self.query_tokens, self.temporal_query_tokens, self.vit_eos):
            if parameter is not None:
                nn.init.trunc_normal_(parameter, std=INIT_STD)

    def tokens(self, grid: VideoGrid) -> int:
        """Return N: 64 + 1 = 65 for images and clips of any grid."""
        return self.query_tokens.shape[1] + 1

    def read(self, features_BTHWD: Tensor) -> Tensor:
        """Return the output of the queries, before the last linear maps: ``read_BQJ``, time after space."""
        clips, frames = features_BTHWD.shape[:2]
        keys_BKJ = features_BTHWD.flatten(1, 3)
        keys_BKJ = keys_BKJ if self.input is None else self.input(keys_BKJ)
        queries: list[Tensor] = [self.query_tokens]
        if frames > 1 and self.temporal_query_tokens is not None:
            queries.append(self.temporal_query_tokens)
        read_BQJ = torch.cat(queries, 1).expand(clips, -1, -1)
        layers: Any = self.encoder["layers"]
        for layer in layers:
            read_BQJ = layer(read_BQJ, keys_BKJ)
        return read_BQJ

    def forward(self, features_BTHWD: Tensor) -> Tensor:
        read_BQJ = self.read(features_BTHWD)
        queries = self.query_tokens.shape[1]
        tokens_BNE = self.visual_fc(read_BQJ[:, :queries])
        if read_BQJ.shape[1] > queries and self.temporal_visual_fc is not None:
            tokens_BNE = tokens_BNE + self.temporal_visual_fc(read_BQJ[:, queries:])
        return torch.cat([tokens_BNE, self.vit_eos.expand(len(tokens_BNE), -1, -1).to(tokens_BNE.dtype)], 1)


class Layer(nn.Module):
    """The only sub-module of a layer; named so in the checkpoints."""

    def __init__(self, width: int, heads: int, hidden: int, eps: float, dropout: float) -> None:
        super().__init__()
        self.crossattention = CrossAttention(width, heads, hidden, eps, dropout)

    def forward(self, queries_BQJ: Tensor, keys_BKJ: Tensor) -> Tensor:
        return self.crossattention(queries_BQJ, keys_BKJ)


class CrossAttention(nn.Module):
    """Queries attend to themselves and the keys. The residual is added to the *normed* queries, as in the original."""

    def __init__(self, width: int, heads: int, hidden: int, eps: float, dropout: float) -> None:
        super().__init__()
        self.attention = Attention(width, heads, dropout)
        self.output = Output(width, hidden, eps)
        self.norm1 = nn.LayerNorm(width)
        self.normk = nn.LayerNorm(width)

    def forward(self, queries_BQJ: Tensor, keys_BKJ: Tensor) -> Tensor:
        normed_BQJ = self.norm1(queries_BQJ)
        seen_BKJ = torch.cat([normed_BQJ, self.normk(keys_BKJ)], 1)
        return self.output(self.attention(normed_BQJ, seen_BKJ), normed_BQJ)


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)

    def forward(self, queries_BQJ: Tensor, seen_BKJ: Tensor) -> Tensor:
        query, key, value = (
            values.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for values in (self.query(queries_BQJ), self.key(seen_BKJ), self.value(seen_BKJ))
        )
        dropout = self.dropout if self.training else 0.0
        return functional.scaled_dot_product_attention(query, key, value, dropout_p=dropout).transpose(1, 2).flatten(2)


class Output(nn.Module):
    def __init__(self, width: int, hidden: int, eps: float) -> None:
        super().__init__()
        self.out_proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = GatedMLP(width, hidden, eps)

    def forward(self, read_BQJ: Tensor, normed_BQJ: Tensor) -> Tensor:
        added_BQJ = normed_BQJ + self.out_proj(read_BQJ)
        return added_BQJ + self.mlp(self.norm2(added_BQJ))


class GatedMLP(nn.Module):
    """A gated MLP (SwiGLU) with a norm before its last map."""

    def __init__(self, width: int, hidden: int, eps: float) -> None:
        super().__init__()
        self.w1 = nn.Linear(width, hidden)
        self.w2 = nn.Linear(hidden, width)
        self.w3 = nn.Linear(width, hidden)
        self.ffn_ln = nn.LayerNorm(hidden, eps=eps)

    def forward(self, values: Tensor) -> Tensor:
        return self.w2(self.ffn_ln(functional.silu(self.w1(values)) * self.w3(values)))


def mlp_width(intermediate_size: int) -> int:
    """Return the width of the MLPs: 2816 unchanged, of another number two thirds, rounded up to a multiple of 256."""
    if intermediate_size == LITERAL:
        return LITERAL
    return -(-(2 * intermediate_size // 3) // MULTIPLE) * MULTIPLE


def initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=INIT_STD)
        nn.init.zeros_(module.bias)
