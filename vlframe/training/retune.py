"""A stage that goes on with other rates than it began with (``resume_changes=allow``).

A checkpoint brings back the optimizer's groups and the schedule's base rates as they were; these put what the config
says now in their place. Moments and the place in the schedule stay.
"""

from __future__ import annotations

from lightning.pytorch import Callback, LightningModule, Trainer

from vlframe.training.optim import make_optimizer

TAKEN = ("lr", "weight_decay", "betas")


class Retune(Callback):
    """Sets rates, decay and betas as the stage says, after the checkpoint was read."""

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        (optimizer,) = trainer.optimizers
        scheduler = trainer.lr_scheduler_configs[0].scheduler
        fresh = make_optimizer(module.model, module.stage)
        for group, new in zip(optimizer.param_groups, fresh.param_groups, strict=True):
            group.update({key: new[key] for key in TAKEN}, initial_lr=new["lr"])
        scheduler.base_lrs = [group["lr"] for group in fresh.param_groups]
        for group, factor in zip(optimizer.param_groups, scheduler.lr_lambdas, strict=True):
            group["lr"] *= factor(scheduler.last_epoch)
        scheduler._last_lr = [group["lr"] for group in optimizer.param_groups]
