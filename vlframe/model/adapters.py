"""Low-rank adapters (LoRA, Hu et al. 2021) inside a component, by the peft library."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from vlframe.errors import ConfigError

if TYPE_CHECKING:
    from vlframe.config import LoraConfig

ADAPTER = "default"  # peft's name for the one adapter of a component


def is_adapter(name: str) -> bool:
    """Whether a tensor of this name belongs to an adapter."""
    return "lora_" in name


def has_adapter(part: nn.Module) -> bool:
    return any(is_adapter(name) for name, _ in part.named_parameters())


def add_adapter(name: str, part: nn.Module, lora: LoraConfig) -> None:
    """Low-rank adapters in place, inside the component's own modules."""
    from peft import LoraConfig as PeftConfig
    from peft import inject_adapter_in_model

    targets = list(lora.targets) if lora.targets else getattr(part, "lora_targets", None) or linear_names(part)
    if not targets:
        raise ConfigError(f"{name} has no linear layer for a low-rank adapter; use train: full or frozen")
    settings = PeftConfig(
        r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=list(targets), bias="none"
    )
    strange = [target for target in targets if not _names_a_module(target, part)]
    if strange:
        raise ConfigError(
            f"{name} has no layer called {', '.join(strange)} for a low-rank adapter (lora.targets); its linear layers "
            f"are called {', '.join(sorted({item.rpartition('.')[2] for item in linear_names(part)}))}"
        )
    inject_adapter_in_model(settings, part, adapter_name=ADAPTER)


def _names_a_module(target: str, part: nn.Module) -> bool:
    """As peft reads a list of targets: a module's whole name, or the end of it."""
    return any(name == target or name.endswith(f".{target}") for name, _ in part.named_modules())


def merge_adapters(part: nn.Module) -> None:
    """Fold low-rank adapters into the weights they adapt, and leave plain layers under their plain names."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, module in list(part.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge()
            parent, _, last = name.rpartition(".")
            setattr(part.get_submodule(parent), last, module.get_base_layer())


def linear_names(part: nn.Module) -> list[str]:
    return [name for name, module in part.named_modules() if isinstance(module, nn.Linear)]
