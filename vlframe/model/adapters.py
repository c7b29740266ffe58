"""Low-rank adapters (LoRA, Hu et al. 2021) inside a component, by the peft library."""

from __future__ import annotations

import logging
import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from torch import nn

from vlframe.errors import ConfigError, did_you_mean, one_line

if TYPE_CHECKING:
    from vlframe.config.parts import LoraConfig

ADAPTER = "default"  # peft's name for the one adapter of a component
TENSOR = re.compile(rf"\.lora_\w+\.{ADAPTER}(?=\.|$)")  # in the names of peft's tensors: proj.lora_A.default.weight
ALL = ("all", "all-linear")  # same as no targets: every linear layer except the output head


def is_adapter(name: str) -> bool:
    """Return whether a tensor of this name belongs to an adapter, and not to a part that has lora in its names."""
    return TENSOR.search(name) is not None


def adapted_module(name: str) -> str:
    """Return the name of the module that the adapter with this tensor adapts."""
    return TENSOR.split(name)[0]


def has_adapter(part: nn.Module) -> bool:
    return any(is_adapter(name) for name, _ in part.named_parameters())


def alpha_of(lora: LoraConfig) -> float:
    return lora.scale * lora.rank if lora.alpha is None else lora.alpha


def size_in_words(lora: LoraConfig) -> str:
    """Return the rank of adapters and the factor of their product."""
    return f"rank {lora.rank}, scale {alpha_of(lora) / lora.rank:g}"


def add_adapter(part_name: str, part: nn.Module, lora: LoraConfig, places: Iterable[str]) -> None:
    """Add low-rank adapters in place to the modules of these names (``model.selection.adapter_places``)."""
    with _without_kernels():
        from peft import LoraConfig as PeftConfig
        from peft import inject_adapter_in_model

    settings = PeftConfig(
        r=lora.rank,
        lora_alpha=alpha_of(lora),  # type: ignore[arg-type]  # peft's annotation is int, but it only divides
        lora_dropout=lora.dropout,
        target_modules="|".join(map(re.escape, places)),  # as text it is matched against the whole name
        bias="none",
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="fan_in_fan_out")  # peft detects Conv1D and sets it
        try:
            with _without_kernels():
                inject_adapter_in_model(settings, part, adapter_name=ADAPTER)
        except ValueError as error:  # a layer that peft cannot adapt
            raise ConfigError(
                f"{part_name} has a layer among lora.targets that cannot have a low-rank adapter: {one_line(error)}"
            ) from error


@contextmanager
def _without_kernels() -> Iterator[None]:
    """Keep bitsandbytes, which peft imports where it is installed, from fetching a kernel for CPUs from the hub, and
    from warning that it has none. Nothing here computes in four bits on a CPU.
    """
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    hidden = "kernels" not in sys.modules and "bitsandbytes" not in sys.modules
    if hidden:
        sys.modules["kernels"] = None  # type: ignore[assignment]  # Python's way of refusing an import
    try:
        yield
    finally:
        if hidden:
            del sys.modules["kernels"]


def adapted(part: nn.Module) -> set[str]:
    """Return the plain names of the modules that have an adapter."""
    return {adapted_module(name) for name, _ in part.named_parameters() if is_adapter(name)}


def targets_of(part_name: str, part: nn.Module, lora: LoraConfig, layers: Mapping[str, nn.Module]) -> list[str]:
    """Return the modules that ``lora.targets`` selects by their names or endings of them. Without targets these are the
    part's own ``lora_targets``, or else all its linear layers.
    """
    given = [lora.targets] if isinstance(lora.targets, str) else list(lora.targets or [])
    chosen = [] if any(item in ALL for item in given) else given
    own = getattr(part, "lora_targets", None)
    targets = chosen or (list(layers) if own is None else own)
    if not targets:
        raise ConfigError(f"{part_name} has no linear layer for a low-rank adapter; use train: full or frozen")
    found: dict[str, None] = {}
    for target in targets:
        named = [name for name in _plain_modules(part) if name == target or name.endswith(f".{target}")]
        if not named:
            known = sorted({item.rpartition(".")[2] for item in layers})
            raise ConfigError(
                f"{part_name} has no layer called {target} for a low-rank adapter (lora.targets); its linear layers "
                f"are called {', '.join(known)}{did_you_mean(target, known)}"
            )
        found |= dict.fromkeys(named if chosen else [name for name in named if name in layers])
    return [name for name in _plain_modules(part) if name in found]


def merge_adapters(part: nn.Module) -> None:
    """Merge low-rank adapters into the weights they adapt, leaving plain layers under their plain names."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, module in list(part.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge()
            parent, _, last = name.rpartition(".")
            setattr(part.get_submodule(parent), last, module.get_base_layer())


def adaptable(part: nn.Module) -> dict[str, nn.Module]:
    """Return the linear layers by plain name, including transformers' transposed ones (Conv1D). Those in torch's
    MultiheadAttention are left out: it uses their weights without calling them, so an adapter would have no effect.
    """
    from transformers.pytorch_utils import Conv1D

    modules = _plain_modules(part)
    return {
        name: module
        for name, module in modules.items()
        if isinstance(_base(module), nn.Linear | Conv1D)
        and not isinstance(modules.get(name.rpartition(".")[0], part), nn.MultiheadAttention)
    }


def _plain_modules(part: nn.Module) -> dict[str, nn.Module]:
    """Return the modules by their names without adapters: a module with an adapter replaces the one it wraps."""
    found: dict[str, nn.Module] = {}
    wrapper = ""
    for name, module in part.named_modules():  # what is inside a module follows it
        if not name or (wrapper and name.startswith(f"{wrapper}.")):
            continue
        found[name] = module
        wrapper = name if hasattr(module, "base_layer") and hasattr(module, "lora_A") else ""
    return found


def _base(module: nn.Module) -> nn.Module:
    return getattr(module, "base_layer", module)
