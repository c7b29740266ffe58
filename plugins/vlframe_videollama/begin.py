"""Random weights at the start of the official training of the visual branch, drawn as in that code.

Its first checkpoint only has a projection (MiniGPT-4's ``pretrained_minigpt4_7b.pth``).
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import Blip2QFormerConfig, Blip2QFormerModel

from vlframe import NameTable
from vlframe_videollama.names import names

QUERIES, POSITIONS, LAYERS = 32, 32, 2
STD = 0.02
Tensors = dict[str, Tensor]


def video_qformer(width: int, heads: int, intermediate: int) -> Tensors:
    """Draw the video Q-Former, its queries and the frames' positions, with seed 0."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = qformer(width, heads, intermediate, keys=width, frequency=1)
        drawn = {f"video_qformer.{name}": value for name, value in module.items()}
        drawn["video_query_tokens"] = torch.randn(1, QUERIES, width) * STD
        drawn["frame_position.weight"] = torch.randn(POSITIONS, width)
    return NameTable(names(None, through_vision=False)).split({"connector": drawn})


def qformer(width: int, heads: int, intermediate: int, *, keys: int, frequency: int) -> Tensors:
    """Draw the tensors of a random Q-Former of two layers, under our names."""
    config = Blip2QFormerConfig(
        hidden_size=width,
        num_hidden_layers=LAYERS,
        num_attention_heads=heads,
        intermediate_size=intermediate,
        cross_attention_frequency=frequency,
        encoder_hidden_size=keys,
        initializer_range=STD,
    )
    return dict(Blip2QFormerModel(config).state_dict())
