"""What a stage does to each part: frozen, trained in full, or through low-rank adapters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from vlframe.errors import ConfigError
from vlframe.model.adapters import add_adapter, has_adapter, is_adapter

if TYPE_CHECKING:
    from vlframe.config import LoraConfig, StageConfig
    from vlframe.model.video_llm import VideoLLM


@dataclass(frozen=True)
class PartSummary:
    """A line of the table of trainable parameters."""

    part: str
    mode: str
    parameters: int
    trained: int
    lr: float


def prepare_parts(model: VideoLLM, stage: StageConfig) -> list[PartSummary]:
    """Set gradients, adapters and train/eval mode for a stage; what happens to each part comes back as a table."""
    rows = []
    for name, part in model.parts.items():
        settings = getattr(stage, name)
        _prepare(name, part, settings.train, settings.lora)
        total = sum(p.numel() for p in part.parameters())
        trained = sum(p.numel() for p in part.parameters() if p.requires_grad)
        rows.append(PartSummary(name, settings.train, total, trained, stage.lr if settings.lr is None else settings.lr))
    if not any(row.trained for row in rows):
        modes = ", ".join(f"{row.part}: {row.mode}" for row in rows)
        raise ConfigError(f"the stage trains nothing ({modes}); set train: full or lora for at least one part")
    return rows


def recompute_activations(model: VideoLLM) -> None:
    """Every part that can (``enable_gradient_checkpointing``) recomputes in the backward pass what it would keep."""
    able = [part for part in model.parts.values() if hasattr(part, "enable_gradient_checkpointing")]
    for part in able:
        part.enable_gradient_checkpointing()
    if not able:
        raise ConfigError("trainer.gradient_checkpointing is true, and no part of this composition can recompute")


def set_modes(model: VideoLLM, stage: StageConfig) -> None:
    """Frozen parts in eval mode (no dropout, fixed batch statistics), the others in train mode."""
    for name, part in model.parts.items():
        part.train(getattr(stage, name).train != "frozen")


def _prepare(name: str, part: nn.Module, mode: str, lora: LoraConfig) -> None:
    adapted = has_adapter(part)
    if mode == "lora" and not adapted:
        add_adapter(name, part, lora)
    if mode == "full" and not all(parameter.is_floating_point() for parameter in part.parameters()):
        raise ConfigError(f"{name} is quantised and cannot be trained in full; use train: lora, or leave it frozen")
    for key, parameter in part.named_parameters():
        if mode == "full" and adapted:
            raise ConfigError(
                f"{name} has low-rank adapters from an earlier stage and cannot be trained in full beside them; "
                f"keep train: lora or frozen"
            )
        parameter.requires_grad_(mode == "full" or (mode == "lora" and is_adapter(key)))


class RunPrecision:
    """Frozen weights in the run's precision, trained ones in float32; the originals of what that rounds are kept aside.

    Without the originals a frozen part would come out of a bf16 run changed. Norms and biases stay in float32: they
    weigh nothing, and autocast wants them so.
    """

    def __init__(self, model: VideoLLM, precision: str) -> None:
        self.model = model
        self.dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self.kept: dict[str, dict[str, Tensor]] = {}

    def apply(self) -> None:
        for name, part in self.model.parts.items():
            for key, parameter in part.named_parameters():
                if not parameter.is_floating_point():  # packed four-bit weights
                    continue
                wanted = torch.float32 if parameter.requires_grad or parameter.ndim < 2 else self.dtype
                if parameter.dtype == torch.float32 and wanted != torch.float32:
                    self.kept.setdefault(name, {})[key] = parameter.detach().cpu().clone()
                parameter.data = parameter.data.to(wanted)

    def restore(self) -> None:
        for name, tensors in self.kept.items():
            parameters = dict(self.model.parts[name].named_parameters())
            for key, tensor in tensors.items():
                parameters[key].data = tensor.to(parameters[key].device)
        self.kept = {}
