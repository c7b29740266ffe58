"""What the first stage begins with beside EVA's ViT and BERT: random weights, drawn as in the official code.

Source: lavis/models/blip2_models/blip2_qformer.py, Blip2Qformer; blip2.py, Blip2Base.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

QUERIES, COMPARED = 32, 256  # COMPARED: width in which media and captions are compared
EVERY = 2  # every second layer of the Q-Former reads the ViT
TEMPERATURE, INIT_STD = 0.07, 0.02
Tensors = dict[str, Tensor]


def drawn(width: int, keys: int) -> Tensors:
    """Draw queries and heads of a Q-Former of this width, and ``ln_vision`` of width ``keys``, with seed 0."""
    found = {
        "temp": torch.tensor(TEMPERATURE),
        "ln_vision.weight": torch.ones(keys),
        "ln_vision.bias": torch.zeros(keys),
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        found["query_tokens"] = torch.randn(1, QUERIES, width) * INIT_STD
        for name, count in (("vision_proj", COMPARED), ("text_proj", COMPARED), ("itm_head", 2)):
            found |= under(f"{name}.", nn.Linear(width, count))
    return found


def second_stage(queries: int, width: int) -> Tensors:
    """Draw the projection of the second stage, of width ``queries`` to ``width``, with seed 0."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return under("opt_proj.", nn.Linear(queries, width))


def under(prefix: str, module: nn.Module) -> Tensors:
    return {f"{prefix}{name}": value.detach() for name, value in module.named_parameters()}
