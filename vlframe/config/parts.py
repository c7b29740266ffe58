"""How a stage trains each part of a model: what it says of the part, and what of all encoders and connectors."""

# ruff: noqa: RUF009 (``key`` makes a dataclass field)

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from vlframe.config.fields import key
from vlframe.config.rules import some_patterns, targets
from vlframe.contracts.modalities import MODALITIES

MODES = ("frozen", "full", "lora")  # what a stage does to a part


@dataclass(frozen=True)
class LoraConfig:
    """Low-rank adapters (LoRA, Hu et al. 2021), by the peft library."""

    rank: int = key(16, "rank of the adapters", at_least=1)
    scale: float = key(2.0, "the adapters' product is scaled by it, whatever their rank", above=0)
    alpha: float | None = key(None, "the scale as alpha / rank, in place of `scale`; changes with the rank", above=0)
    dropout: float = key(0.05, "on the input of the adapters", at_least=0, below=1)
    targets: Any = key(None, "module names; null or all = all linear layers but the output head", rule=targets)


@dataclass(frozen=True)
class PartConfig:
    """How a stage trains one part of the model."""

    train: str | None = key(
        None,
        "what the stage does to the part; null = as the stage's `encoders` or `connectors` say, for the llm frozen",
        choices=MODES,
    )
    trainable: tuple[str, ...] | None = key(
        None,
        "globs for parameters: full trains only these, lora these besides its adapters",
        rule=some_patterns,
    )
    frozen: tuple[str, ...] | None = key(
        None, "globs for parameters that never learn, whatever the other keys", rule=some_patterns
    )
    layers_from_top: int | None = key(
        None, "only the last blocks learn, as many as this, in full or through adapters", at_least=1
    )
    lr: float | None = key(None, "peak learning rate; null = the stage's", at_least=0)
    weight_decay: float | None = key(None, "null = the stage's; norms and biases never decay", at_least=0)
    lora: LoraConfig = key(LoraConfig, "the adapters of train=lora")

    def or_else(self, mode: str) -> PartConfig:
        """Return the settings with ``train`` filled in, if they say nothing about it."""
        return self if self.train is not None else replace(self, train=mode)


def narrows_nothing(where: str, values: Mapping[str, Any], mode: str) -> str:
    """Return what is wrong with keys that narrow a part which the stage leaves frozen; "" = nothing."""
    given = [name for name in ("trainable", "frozen", "layers_from_top") if values.get(name) is not None]
    if not given or (values.get("train") or mode) != "frozen":
        return ""
    return (
        f"{where}.{given[0]} is set and {where}.train is frozen, so nothing of it learns; set {where}.train to full or "
        f"lora, or leave {given[0]} out"
    )


def modes_of_roles(encoders: str, connectors: str) -> dict[str, str]:
    """Return what a stage does to the parts that do not say it themselves."""
    modalities = MODALITIES.values()
    return {item.encoder: encoders for item in modalities} | {item.connector: connectors for item in modalities}
