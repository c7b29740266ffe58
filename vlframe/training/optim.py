"""Optimizer groups and the learning rate of a stage."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.optim import AdamW

if TYPE_CHECKING:
    from vlframe.config import StageConfig
    from vlframe.model.video_llm import VideoLLM


def parameter_groups(model: VideoLLM, stage: StageConfig) -> list[dict[str, Any]]:
    """Two groups for each trained part: weights, which decay, and norms and biases, which do not."""
    groups = []
    for part_name, part in model.parts.items():
        settings = getattr(stage, part_name)
        lr = stage.lr if settings.lr is None else settings.lr
        decay = stage.weight_decay if settings.weight_decay is None else settings.weight_decay
        split: dict[bool, list[nn.Parameter]] = {True: [], False: []}
        for parameter in (p for p in part.parameters() if p.requires_grad):
            split[parameter.ndim >= 2].append(parameter)
        for decays, parameters in split.items():
            if parameters:
                name = f"{part_name}/{'weights' if decays else 'norms and biases'}"
                groups.append({"params": parameters, "lr": lr, "weight_decay": decay if decays else 0.0, "name": name})
    return groups


def make_optimizer(model: VideoLLM, stage: StageConfig) -> AdamW:
    """AdamW over the trained parameters of a stage (Loshchilov and Hutter 2019)."""
    first, second = stage.betas
    optimizer = AdamW(parameter_groups(model, stage), lr=stage.lr, betas=(first, second), fused=True)
    # Lightning refuses to clip for optimizers that unscale gradients themselves; in bf16 there is nothing to unscale.
    optimizer._step_supports_amp_scaling = False
    return optimizer


def warmup_cosine(steps: int, warmup_ratio: float, final_ratio: float) -> Callable[[int], float]:
    """The factor on every learning rate at an optimizer step: a linear climb, then half a cosine down."""
    warmup = math.ceil(steps * warmup_ratio)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        progress = min(1.0, (step - warmup) / max(1, steps - warmup))
        return final_ratio + (1 - final_ratio) * 0.5 * (1 + math.cos(math.pi * progress))

    return factor


def gradient_parameters(optimizer: AdamW) -> Iterator[nn.Parameter]:
    for group in optimizer.param_groups:
        yield from group["params"]
