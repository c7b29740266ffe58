"""``vlframe plan``: what a composition is, without weights, data or training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vlframe.model.compose import Plan, make_plan
from vlframe.table import render

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from vlframe.registry import Registry


def plan_command(config: DictConfig, registry: Registry) -> Plan:
    plan = make_plan(config, registry)
    print(describe(plan, config))
    return plan


def describe(plan: Plan, config: DictConfig) -> str:
    """Parts with their parameters, then the media tokens and what they leave of the context."""
    parts = [
        {"part": name, "component": config[name].name, "width": _width(plan, name), "parameters": f"{count:,}"}
        for name, count in plan.parameters.items()
    ]
    total = sum(plan.parameters.values())
    clip = plan.tokens("video", plan.frames)
    grid = plan.model.encoder.grid(plan.frames)
    lines = [
        render(parts),
        f"{total:,} parameters",
        f"video: {plan.frames} frames -> {grid} features -> {clip} tokens",
        f"image: {plan.tokens('image', 1)} tokens",
    ]
    if plan.audio is not None:
        import torch

        silence_L = torch.zeros(int(plan.audio.seconds * plan.audio.sampling_rate))
        longest = plan.tokens("audio", len(plan.audio.features(silence_L)))
        lines.append(f"audio: at most {plan.audio.seconds:g} s -> {longest} tokens")
    lines.append(f"context: {plan.context}, of which {plan.context - clip} are left for text beside one clip")
    return "\n".join(lines)


def _width(plan: Plan, name: str) -> str:
    module = plan.model.parts[name]
    return str(module.dim) if hasattr(module, "dim") else "in between"
