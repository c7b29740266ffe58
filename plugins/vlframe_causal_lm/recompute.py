"""Recompute activations in the backward pass instead of keeping them (Chen et al. 2016).

transformers does this only in training mode. A frozen language model is in eval mode, and gradients still pass through
it to the connector below: at 2048 tokens its activations fill most of the memory.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from vlframe import ConfigError


def decoder_layers(model: nn.Module) -> list[nn.Module]:
    """Return the blocks of a decoder, as transformers marks them."""
    return [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]


def recompute(model: nn.Module) -> None:
    """Make every decoder layer recompute, in any mode, if gradients are needed. Generation is unchanged."""
    layers = decoder_layers(model)
    if not layers:
        kind = type(model).__name__
        raise ConfigError(f"trainer.gradient_checkpointing is true, and a {kind} has no layers that can recompute")
    for layer in layers:
        layer.forward = partial(_recomputed, layer.forward)


def _recomputed(forward: Callable[..., Any], *inputs: Any, **more: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*inputs, **more)
    return checkpoint(forward, *inputs, use_reentrant=False, **more)
