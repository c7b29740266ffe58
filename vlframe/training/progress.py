"""Reports a stage's progress in lines: a progress bar for logs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from lightning.pytorch import Callback, Trainer

from vlframe.distributed.ranks import place
from vlframe.runs.log import IN_THE_FILE_ALONE, log

if TYPE_CHECKING:
    from vlframe.training.callbacks import Throughput


class ProgressLines(Callback):
    """Logs a line for each row of metrics: step, loss, rate, samples per second, and the stage's remaining time.

    It must come after the callback that measures the throughput. ``terminal``: the lines go to the terminal, too, not
    only to run.log.
    """

    def __init__(self, throughput: Throughput, *, terminal: bool) -> None:
        self.throughput = throughput
        self.terminal = terminal
        self.first_step = 0

    def on_train_start(self, trainer: Trainer, module: Any) -> None:
        self.first_step = trainer.global_step

    def on_train_batch_end(self, trainer: Trainer, module: Any, outputs: Any, batch: Any, batch_index: int) -> None:
        inside = (batch_index + 1) % trainer.accumulate_grad_batches
        if inside or not module.row_is_due or place()[0] != 0:
            return
        step = trainer.global_step
        per_step = (time.perf_counter() - module.started) / (step - self.first_step)  # in this process
        text = progress_line(
            module.name, step, module.steps, module.logged, self.throughput.scalars, (module.steps - step) * per_step
        )
        log.info("%s", text, extra={} if self.terminal else IN_THE_FILE_ALONE)


def progress_line(
    stage: str, step: int, steps: int, logged: dict[str, float], speed: dict[str, float], seconds: float
) -> str:
    """Return a line like ``stage main, step 40 of 720: loss 1.234, lr 0.0007, 31.2 samples/s, 4 min left``."""
    loss = f"loss {logged['train/loss']:.4g}" if "train/loss" in logged else "no supervised token"
    rate = f"{speed['train/samples_per_second']:.3g} samples/s"
    left = f"{duration(seconds)} left" if step < steps else "the last"
    return f"stage {stage}, step {step} of {steps}: {loss}, lr {logged['train/lr']:.3g}, {rate}, {left}"


def duration(seconds: float) -> str:
    """Format a duration: ``40 s``, ``5 min``, ``3 h 20 min``, ``2 d 4 h``, with at most two units."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 24 else f"{hours // 24} d {hours % 24} h"
