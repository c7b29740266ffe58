"""Which launcher started this process together with others, by its environment variables. Nothing heavy is imported."""

from __future__ import annotations

import os
from collections.abc import Mapping


def launcher(variables: Mapping[str, str]) -> str:
    """Return ``torchrun`` or ``srun``; "" for a process that was started on its own."""
    if "TORCHELASTIC_RUN_ID" in variables:
        return "torchrun"
    # Set in a step of srun, and not in a batch script.
    return "srun" if int(variables.get("SLURM_STEP_NUM_TASKS", "1")) > 1 else ""


def launched() -> bool:
    return launcher(os.environ) != ""
