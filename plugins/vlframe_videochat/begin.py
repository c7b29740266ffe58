"""Random weights at the start of the official training, drawn as in models/eva_vit.py and models/videochat_pt.py."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from vlframe_videochat.names import VIT
from vlframe_videochat.sizes import RELEASED_BLOCKS, count

LAYERS, EXTRA = 8, 64  # blocks that the global token reads, and additional queries
Tensors = dict[str, Tensor]


def drawn(tensors: Mapping[str, Tensor], width: int) -> Tensors:
    """Draw the global token's modules, the additional queries and the projection to ``width``, with seed 0.

    The additional queries are zero, as in the official code: they begin equal, and only rounding errors separate them.
    """
    dim = int(tensors[f"{VIT}cls_token"].shape[2])
    hidden = int(tensors[f"{VIT}blocks.0.mlp.fc1.weight"].shape[0])
    blocks = count(tensors, f"{VIT}blocks.")
    layers = min(LAYERS, blocks - 1 if blocks == RELEASED_BLOCKS else blocks)
    found = {
        f"{VIT}gmhra_cls_token": torch.zeros(1, 1, dim),
        "extra_query_tokens": torch.zeros(1, EXTRA, tensors["query_tokens"].shape[2]),
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for layer in range(layers):
            found |= _under(f"{VIT}gmhra.{layer}.", aggregator(dim, hidden))
        found |= _under("llama_proj.", nn.Linear(int(tensors["query_tokens"].shape[2]), width))
    return found


def aggregator(dim: int, hidden: int) -> nn.Module:
    """Return one of the global token's modules, under the official names; its last projections are zero."""
    module = nn.ModuleDict(
        {
            "dpe": nn.Conv3d(dim, dim, 3, groups=dim),
            "attn": nn.MultiheadAttention(dim, 1),
            "ln_1": nn.LayerNorm(dim),
            "mlp": nn.ModuleDict({"c_fc": nn.Linear(dim, hidden), "c_proj": nn.Linear(hidden, dim)}),
            "ln_2": nn.LayerNorm(dim),
            "ln_3": nn.LayerNorm(dim),
        }
    )
    for name, parameter in module.named_parameters():
        if name == "dpe.bias" or name.startswith(("attn.out_proj", "mlp.c_proj")):
            nn.init.zeros_(parameter)
        elif name in ("attn.in_proj_weight", "mlp.c_fc.weight"):
            nn.init.xavier_uniform_(parameter)
    return module


def _under(prefix: str, module: nn.Module) -> Tensors:
    return {f"{prefix}{name}": value for name, value in module.state_dict().items()}
