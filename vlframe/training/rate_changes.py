"""Applies changed rates to a resumed stage (``resume_changes=allow``).

A checkpoint restores the optimizer's groups and the schedule's base rates; they are then replaced by those of the
current config. Moments and the position in the schedule are kept.
"""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, Trainer

from vlframe.training.optim import make_optimizer

TAKEN = ("lr", "weight_decay", "betas")


class Retune(Callback):
    """Sets the stage's rates, decay and betas after the checkpoint has been read."""

    def on_train_start(self, trainer: Trainer, module: Any) -> None:
        (optimizer,) = trainer.optimizers
        scheduler: Any = trainer.lr_scheduler_configs[0].scheduler
        fresh = make_optimizer(module.model, module.stage)
        for group, new in zip(optimizer.param_groups, fresh.param_groups, strict=True):
            group.update({key: new[key] for key in TAKEN}, initial_lr=new["lr"])
        scheduler.base_lrs = [group["lr"] for group in fresh.param_groups]
        for group, factor in zip(optimizer.param_groups, scheduler.lr_lambdas, strict=True):
            group["lr"] *= factor(scheduler.last_epoch)
        scheduler._last_lr = [group["lr"] for group in optimizer.param_groups]
