"""The blocks of BEATs, under the names of the published checkpoints. B batch, A steps, D features, W kernel width."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlframe_beats import BeatsParams
from vlframe_beats.attention import Attention, RelativePositionBias


class Transformer(nn.Module):
    """Convolutional position embeddings, then post-norm blocks."""

    def __init__(self, config: BeatsParams) -> None:
        super().__init__()
        self.layerdrop = config.encoder_layerdrop
        self.gradient_decay = config.layer_wise_gradient_decay_ratio
        self.relative = config.relative_position_embedding
        width = config.encoder_embed_dim
        self.pos_conv = nn.Sequential(PositionalConvolution(width, config.conv_pos, config.conv_pos_groups), nn.GELU())
        self.layer_norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.encoder_layers))
        _initialise(self.layers, (8 * config.encoder_layers) ** -0.25 if config.deep_norm else 1.0)
        if self.relative:  # shared by all blocks; kept, and saved, with the first
            self._first_attention.relative_attention_bias = RelativePositionBias(
                config.num_buckets, config.encoder_attention_heads, config.max_distance
            )

    @property
    def _first_attention(self) -> Any:
        return self.layers[0].self_attn

    def forward(self, steps_BAD: Tensor) -> Tensor:
        positions_BAD = self.pos_conv(steps_BAD.transpose(1, 2)).transpose(1, 2)
        steps_BAD = self.dropout(self.layer_norm(steps_BAD + positions_BAD))
        bias_KAA = self._bias(steps_BAD.shape[1])
        for layer in self.layers:
            if self.gradient_decay != 1.0:
                steps_BAD = ScaleGradient.apply(steps_BAD, self.gradient_decay)
            if self.training and torch.rand(()).item() <= self.layerdrop:
                continue
            steps_BAD = layer(steps_BAD, bias_KAA)
        return steps_BAD

    def intermediates(self, steps: int) -> dict[str, Tensor]:
        """Return what ``forward`` computes from its weights for a sound of ``steps`` steps."""
        bias_KAA = self._bias(steps)
        convolution: Any = self.pos_conv[0]
        inside = {"pos_conv_weight_effective": convolution.weight()}
        return inside if bias_KAA is None else {**inside, "position_bias": bias_KAA}

    def _bias(self, steps: int) -> Tensor | None:
        return self._first_attention.relative_attention_bias(steps) if self.relative else None


class Block(nn.Module):
    """Attention and MLP; a norm follows each residual sum, whose shortcut is scaled by ``alpha`` (DeepNorm)."""

    def __init__(self, config: BeatsParams) -> None:
        super().__init__()
        width, hidden = config.encoder_embed_dim, config.encoder_ffn_embed_dim
        self.alpha = (2 * config.encoder_layers) ** 0.25 if config.deep_norm else 1.0
        gated = config.gru_rel_pos and config.relative_position_embedding
        self.self_attn = Attention(width, config.encoder_attention_heads, config.attention_dropout, gated)
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)
        self.final_layer_norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(config.dropout)
        self.activation_dropout = nn.Dropout(config.activation_dropout)

    def forward(self, steps_BAD: Tensor, bias_KAA: Tensor | None) -> Tensor:
        attended_BAD = self.dropout(self.self_attn(steps_BAD, bias_KAA))
        steps_BAD = self.self_attn_layer_norm(steps_BAD * self.alpha + attended_BAD)
        mapped_BAD = self.dropout(self.fc2(self.activation_dropout(F.gelu(self.fc1(steps_BAD)))))
        return self.final_layer_norm(steps_BAD * self.alpha + mapped_BAD)


class PositionalConvolution(nn.Module):
    """A grouped convolution over time, with weight normalisation at each of the W kernel positions.

    The checkpoints hold it as ``weight_g`` (1, 1, W) and ``weight_v``: weight = g * v / |v|, |v| over all but W.
    """

    def __init__(self, dim: int, width: int, groups: int) -> None:
        super().__init__()
        self.width = width
        self.groups = groups
        self.weight_v = nn.Parameter(torch.empty(dim, dim // groups, width))
        self.bias = nn.Parameter(torch.zeros(dim))
        nn.init.normal_(self.weight_v, std=(4 / (width * dim)) ** 0.5)
        self.weight_g = nn.Parameter(self.weight_v.detach().square().sum((0, 1), keepdim=True).sqrt())

    def weight(self) -> Tensor:
        squares = self.weight_v.square().sum((0, 1), keepdim=True)
        return self.weight_g * self.weight_v * torch.rsqrt(squares + 1e-6)

    def forward(self, steps_BDA: Tensor) -> Tensor:
        length = steps_BDA.shape[-1]  # an even kernel gives one extra step, which is dropped
        padding = self.width // 2
        return F.conv1d(steps_BDA, self.weight(), self.bias, padding=padding, groups=self.groups)[..., :length]


class ScaleGradient(torch.autograd.Function):
    """The identity; multiplies its gradient by ``scale``."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.scale, None


def _initialise(layers: nn.ModuleList, gain: float) -> None:
    """Apply Xavier initialisation; DeepNorm (Wang et al. 2022) scales the value path and the MLP by ``gain``."""
    for name, module in layers.named_modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_normal_(module.weight, 1.0 if name.endswith(("q_proj", "k_proj", "grep_linear")) else gain)
            nn.init.zeros_(module.bias)
