"""What happens beside the training: checkpoints, throughput."""

from __future__ import annotations

import os
import resource
import shutil
import sys
import time
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from vlframe.runs.checkpoint import checkpoint_name, checkpoints
from vlframe.runs.folder import RunFolder
from vlframe.runs.ranks import of_all_ranks


class SaveCheckpoints(Callback):
    """One every ``every`` optimizer steps and one at the end of the stage; the oldest of the stage go."""

    def __init__(self, folder: RunFolder, *, every: int, keep: int) -> None:
        self.folder = folder
        self.every = every
        self.keep = keep
        self.saved_step = -1

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
        step = trainer.global_step
        # A run that is stopped is saved here too: at its very end Lightning counts the epoch as done, and would not go
        # on in the middle of it.
        due = step % self.every == 0 or trainer.should_stop
        if step not in (0, self.saved_step) and due and step < module.steps:
            self._save(trainer, module)

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        if trainer.global_step != self.saved_step:
            self._save(trainer, module)

    def _save(self, trainer: Trainer, module: LightningModule) -> None:
        self.saved_step = trainer.global_step
        trainer.save_checkpoint(self.folder.checkpoints / checkpoint_name(module.state()))
        if trainer.is_global_zero:
            mine = [item for item in checkpoints(self.folder) if item.stage == module.name]
            for old in mine[: -self.keep]:
                gone = old.path.with_name(f".{old.path.name}.gone")  # at once, so that no kill leaves half of one
                os.replace(old.path, gone)
                shutil.rmtree(gone)


class Throughput(Callback):
    """samples/s, tokens/s, the share of time spent waiting for data, and peak memory (GiB)."""

    def __init__(self) -> None:
        self._reset(time.perf_counter())
        self.waiting_since = time.perf_counter()

    def _reset(self, now: float) -> None:
        self.since, self.waited, self.samples, self.tokens = now, 0.0, 0, 0

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self._reset(time.perf_counter())
        self.waiting_since = time.perf_counter()

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: Any, batch_index: int) -> None:
        self.waited += time.perf_counter() - self.waiting_since

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        self.samples += len(batch)
        self.tokens += batch.ids_BS.numel()
        now = self.waiting_since = time.perf_counter()
        boundary = (batch_index + 1) % trainer.accumulate_grad_batches == 0
        if boundary and trainer.global_step % trainer.log_every_n_steps == 0:
            elapsed = now - self.since
            counts = of_all_ranks((self.samples, self.tokens))  # batches of ranks differ
            scalars = {
                "train/samples_per_second": sum(samples for samples, _ in counts) / elapsed,
                "train/tokens_per_second": sum(tokens for _, tokens in counts) / elapsed,
                "train/data_wait_share": self.waited / elapsed,
                "train/peak_memory_gib": peak_memory_gib(),
            }
            for logger in trainer.loggers:
                logger.log_metrics(scalars, step=module.first_step + trainer.global_step)
            self._reset(now)


def peak_memory_gib() -> float:
    """Of the GPU where there is one, of the process elsewhere."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    kibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "darwin" else 1)
    return kibibytes / 2**20
