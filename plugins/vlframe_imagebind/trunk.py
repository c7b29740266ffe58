"""Shared code of ImageBind's trunks (ImageBind, models/imagebind_model.py and models/transformer.py).

N items (frames or clips), P patches, D features, E the space that all modalities share.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from vlframe import ConfigError, WeightsError, is_meta, load_strict, read_tensors

EPS = 1e-6
SCALE = "log_logit_scale"  # a buffer of the checkpoints: the logarithm of the norm that vectors are given


class Trunk(nn.Module):
    """A class token and patches with learned positions, pre-norm blocks, and the class token projected to space E.

    Names are those of ``imagebind_huge.pth``, for one modality.
    """

    def __init__(
        self, modality: str, *, projection: nn.Module, patches: int, dim: int, hidden: int, layers: int, heads: int,
        embed_dim: int, stem_norm: bool, first_norm: bool, key_bias: bool,
    ) -> None:  # fmt: skip
        super().__init__()
        if min(dim, hidden, layers, heads, embed_dim) < 1 or dim % heads:
            raise ConfigError(
                f"hidden_size={dim} must be a multiple of num_attention_heads={heads}, and intermediate_size={hidden}, "
                f"num_hidden_layers={layers}, embed_dim={embed_dim} at least 1"
            )
        self.modality = modality
        first = nn.LayerNorm(dim, eps=EPS) if first_norm else nn.Identity()
        blocks = nn.ModuleList(Block(dim, hidden, heads, key_bias) for _ in range(layers))
        head = nn.Sequential(nn.LayerNorm(dim, eps=EPS), ClassToken(), nn.Linear(dim, embed_dim, bias=False))
        trunk = nn.ModuleDict({"pre_transformer_layer": nn.Sequential(first), "blocks": blocks})
        self.modality_preprocessors = nn.ModuleDict({modality: Embedding(projection, patches, dim, stem_norm)})
        self.modality_trunks = nn.ModuleDict({modality: trunk})
        self.modality_heads = nn.ModuleDict({modality: head})
        self.recompute = False

    @property
    def embedding(self) -> nn.Module:
        return self.modality_preprocessors[self.modality]

    def blocks(self) -> list[nn.Module]:
        """Return the transformer's blocks."""
        trunk: nn.ModuleDict = self.modality_trunks[self.modality]  # type: ignore[assignment]
        return list(trunk["blocks"].children())

    def enable_gradient_checkpointing(self) -> None:
        """Recompute blocks in the backward pass instead of keeping their activations."""
        self.recompute = True

    def summary(self, inputs_N: Tensor) -> Tensor:
        """Return the normed class token of each item: ``summary_ND``."""
        trunk: nn.ModuleDict = self.modality_trunks[self.modality]  # type: ignore[assignment]
        tokens_NPD = trunk["pre_transformer_layer"](self.embedding(inputs_N))
        for block in self.blocks():
            if self.recompute and torch.is_grad_enabled():
                tokens_NPD = checkpoint(block, tokens_NPD, use_reentrant=False)
            else:
                tokens_NPD = block(tokens_NPD)
        return self._head[1](self._head[0](tokens_NPD))

    def vectors(self, inputs_N: Tensor) -> Tensor:
        """Return a vector of norm 1 for each item: ``vectors_NE``."""
        return functional.normalize(self._head[2](self.summary(inputs_N)), dim=-1)

    def load(self, source: str | None) -> None:
        """Load the trunk from a file of the whole model, strictly; the other modalities are not read."""
        if source is None or is_meta():
            return
        if not Path(source).is_file():
            raise WeightsError(f"source is {source}, and there is no such file; give imagebind_huge.pth, or null")
        tensors = read_tensors(Path(source))
        own = {name: value for name, value in tensors.items() if name.split(".")[1:2] == [self.modality]}
        load_strict(self, own, source, ignore=[name for name in own if name.endswith(SCALE)])

    @property
    def _head(self) -> nn.Sequential:
        return self.modality_heads[self.modality]  # type: ignore[return-value]


class Embedding(nn.Module):
    """A class token followed by patches, and positions."""

    def __init__(self, projection: nn.Module, patches: int, dim: int, norm: bool) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.empty(1, 1, dim))
        self.pos_embedding_helper = Positions(patches + 1, dim)
        stem = {"proj": projection, "norm_layer": nn.LayerNorm(dim) if norm else nn.Identity()}
        self.rgbt_stem = nn.ModuleDict(stem)
        nn.init.normal_(self.cls_token, std=dim**-0.5)

    def forward(self, inputs_N: Tensor) -> Tensor:
        positions_1PD = self.pos_embedding_helper.pos_embed
        patches_NPD = self.rgbt_stem["proj"](inputs_N.to(positions_1PD.dtype)).flatten(2).transpose(1, 2)
        patches_NPD = self.rgbt_stem["norm_layer"](patches_NPD)
        return torch.cat([self.cls_token.expand(len(patches_NPD), -1, -1), patches_NPD], 1) + positions_1PD


class Positions(nn.Module):
    """One table; a module only for its name in the checkpoints."""

    def __init__(self, rows: int, dim: int) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(torch.empty(1, rows, dim))
        nn.init.normal_(self.pos_embed, std=dim**-0.5)


class ClassToken(nn.Module):
    def forward(self, tokens_NPD: Tensor) -> Tensor:
        return tokens_NPD[:, 0]


class Block(nn.Module):
    """Attention and an MLP, each after a norm and added to its input."""

    def __init__(self, dim: int, hidden: int, heads: int, key_bias: bool) -> None:
        super().__init__()
        # With ``key_bias``, a learned key and a learned value follow those of the tokens.
        self.attn = nn.MultiheadAttention(dim, heads, add_bias_kv=key_bias, batch_first=True)
        self.norm_1 = nn.LayerNorm(dim, eps=EPS)
        self.mlp = MLP(dim, hidden)
        self.norm_2 = nn.LayerNorm(dim, eps=EPS)

    def forward(self, tokens_NPD: Tensor) -> Tensor:
        normed_NPD = self.norm_1(tokens_NPD)
        read_NPD, _ = self.attn(normed_NPD, normed_NPD, normed_NPD, need_weights=False)
        tokens_NPD = tokens_NPD + read_NPD
        return tokens_NPD + self.mlp(self.norm_2(tokens_NPD))


class MLP(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, tokens_NPD: Tensor) -> Tensor:
        return self.fc2(functional.gelu(self.fc1(tokens_NPD)))
