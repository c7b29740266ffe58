"""Saves and restores the random state of a process."""

from __future__ import annotations

from typing import Any

import torch


def get_rng() -> dict[str, Any]:
    """Return torch's random state, as tensors: runs draw random numbers from nothing else."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def set_rng(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["cpu"].cpu())
    if torch.cuda.is_available() and state["cuda"]:
        torch.cuda.set_rng_state_all([item.cpu() for item in state["cuda"]])
