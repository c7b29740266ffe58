"""Self-attention with a gated bias by the distance of key and query (BEATs; WavLM, Chen et al. 2022).

B batch, A steps, K heads, D features.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GATE_UNITS = 4  # sigmoid inputs summed for each of the two gates


class RelativePositionBias(nn.Embedding):
    """A learned number for each head and each bucket of distances."""

    def __init__(self, buckets: int, heads: int, max_distance: int) -> None:
        super().__init__(buckets, heads)
        self.max_distance = max_distance

    def forward(self, steps: int) -> Tensor:  # type: ignore[override]  # an embedding of distances, not of ids
        """Return ``bias_KAA``: query, then key."""
        at = torch.arange(steps, device=self.weight.device)
        offsets = torch.arange(1 - steps, steps, device=self.weight.device)  # key - query, each once
        bias_OK = super().forward(bucket(offsets, self.num_embeddings, self.max_distance))
        return bias_OK.t()[:, at[None, :] - at[:, None] + steps - 1]


def bucket(offset: Tensor, buckets: int, max_distance: int) -> Tensor:
    """Return T5's bucket of ``key - query``: half for each sign; in it one per step if near, then logarithmic."""
    half = buckets // 2
    near = half // 2
    distance = offset.abs()
    scale = (half - near) / math.log(max_distance / near)
    far = near + (torch.log(distance.clamp(min=1).float() / near) * scale).long()
    return half * (offset > 0) + torch.where(distance < near, distance, far.clamp(max=half - 1))


class Attention(nn.Module):
    """The module ``self_attn`` of the published checkpoints."""

    def __init__(self, dim: int, heads: int, dropout: float, gated: bool) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(dim, dim) for _ in range(4))
        if gated:
            self.grep_linear = nn.Linear(dim // heads, 2 * GATE_UNITS)
            self.grep_a = nn.Parameter(torch.ones(1, heads, 1, 1))
        self.gated = gated

    def forward(self, steps_BAD: Tensor, bias_KAA: Tensor | None) -> Tensor:
        q, k, v = (
            project(steps_BAD).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        bias = None if bias_KAA is None else (self.gate(q) * bias_KAA if self.gated else bias_KAA)
        dropout = self.dropout if self.training else 0.0
        mixed_BKAD = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout)
        return self.out_proj(mixed_BKAD.transpose(1, 2).flatten(2))

    def gate(self, q_BKAD: Tensor) -> Tensor:
        """Return ``gate_BKA1``: 2 + a * (b * grep_a - 1), from each head's query before scaling."""
        halves = self.grep_linear(q_BKAD).unflatten(3, (2, GATE_UNITS)).sum(-1).sigmoid()
        a, b = halves.split(1, dim=-1)
        return a * (b * self.grep_a - 1) + 2
