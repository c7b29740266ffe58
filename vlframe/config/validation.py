"""What is measured during training on held-out data, and when training stops early."""

# ruff: noqa: RUF009 (``key`` makes a dataclass field)

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vlframe.config.fields import key


@dataclass(frozen=True)
class ValidationConfig:
    """Held-out data: its loss is measured at every ``evaluation.every``, and at the end of a stage."""

    dataset: Any = key(None, "a data set whose loss is measured in training; null = none", component="dataset")
    batch_size: int = key(8, "samples per device that are measured together", at_least=1)


@dataclass(frozen=True)
class EarlyStoppingConfig:
    """When a stage ends before its last step."""

    patience: int | None = key(
        None,
        "a stage ends after so many evaluations in a row that were not its best; null = at its last step",
        at_least=1,
    )
