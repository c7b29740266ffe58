"""Whether Weights & Biases can be reached without a question that nobody could answer."""

from __future__ import annotations

import os

from vlframe.errors import ConfigError, one_line

LOGGED_OUT = ("offline", "dryrun", "disabled", "shared")  # modes that need no login
_NEXT = "run `wandb login`, or set WANDB_API_KEY, or log only to files with WANDB_MODE=offline"


def check_login(*, offline: bool, mode: str | None, what: str = "logger=wandb") -> None:
    """Raise ConfigError if W&B would ask for a login, which nobody can answer during a run. ``what`` needs it."""
    import wandb

    if offline or (mode or os.environ.get("WANDB_MODE", "")) in LOGGED_OUT:
        return
    try:
        there = wandb.login(prompt=False, verify=False)
    except wandb.errors.Error as error:
        raise ConfigError(f"{what}: the key of Weights & Biases cannot be used: {error}; {_NEXT}") from error
    except ValueError as error:  # of a variable of the environment, such as WANDB_MODE
        raise ConfigError(
            f"{what}: Weights & Biases refuses its settings ({one_line(error)}); correct WANDB_…, or {_NEXT}"
        ) from error
    if not there:
        raise ConfigError(f"{what}: nobody is logged in to Weights & Biases on this machine; {_NEXT}")
