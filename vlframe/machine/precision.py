"""The number formats of a run's computation (``trainer.precision``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def low_type(precision: str) -> torch.dtype | None:
    """Return the type of 16 bits that products are computed in under autocast; None: everything is in float32."""
    import torch

    return {"bf16": torch.bfloat16, "16": torch.float16}.get(precision)
