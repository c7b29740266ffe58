"""Optimizer groups and the learning rate of a stage."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.optim import AdamW

from vlframe.config.schema import part_settings

if TYPE_CHECKING:
    from vlframe.config.schema import StageConfig
    from vlframe.model.video_llm import VideoLLM

EPS = 1e-8  # as in the Hugging Face Trainer, which most recipes used


def parameter_groups(model: VideoLLM, stage: StageConfig) -> list[dict[str, Any]]:
    """Return two groups for each trained part: weights, which decay, and norms and biases, which do not."""
    groups = []
    stage_settings = part_settings(stage)
    for part_name, part in model.parts.items():
        settings = stage_settings[part_name]
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
    """Return AdamW over the trained parameters of a stage (Loshchilov and Hutter 2019)."""
    first, second = stage.betas
    optimizer = AdamW(parameter_groups(model, stage), lr=stage.lr, betas=(first, second), eps=EPS, fused=True)
    # Lightning refuses to clip for optimizers that unscale gradients themselves; in float16 the scaler unscales before.
    optimizer._step_supports_amp_scaling = False
    return optimizer


def rate_factor(stage: StageConfig, steps: int) -> Callable[[int], float]:
    """Return the factor of every learning rate at an optimizer step: a linear warmup, then the stage's schedule.

    A schedule decays to ``final_lr_ratio``; ``cosine_floor`` decays to 0, and this is its lower bound.
    """
    warmup = math.ceil(steps * stage.warmup_ratio) if stage.warmup_steps is None else stage.warmup_steps
    begin, shape, floored = stage.warmup_start_ratio, SHAPES[stage.schedule], stage.schedule == "cosine_floor"
    end, floor = (0.0, stage.final_lr_ratio) if floored else (stage.final_lr_ratio, 0.0)

    def factor(step: int) -> float:
        if step < warmup:
            return max(floor, begin + (1 - begin) * (step + 1) / (warmup + 1))
        return max(floor, end + (1 - end) * shape(min(1.0, (step - warmup) / max(1, steps - warmup))))

    return factor


# From 1 to 0, by the fraction of the steps after warmup.
SHAPES: dict[str, Callable[[float], float]] = {
    "cosine": lambda progress: 0.5 * (1 + math.cos(math.pi * progress)),
    "cosine_floor": lambda progress: 0.5 * (1 + math.cos(math.pi * progress)),
    "linear": lambda progress: 1 - progress,
    "constant": lambda progress: 1.0,
}


def gradient_parameters(optimizer: AdamW) -> Iterator[nn.Parameter]:
    for group in optimizer.param_groups:
        yield from group["params"]
