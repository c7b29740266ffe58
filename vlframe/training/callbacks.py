"""Callbacks of training: checkpoints and throughput."""

from __future__ import annotations

import os
import resource
import shutil
import sys
import time
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import Callback, Trainer

from vlframe.distributed.ranks import of_all_ranks
from vlframe.runs.checkpoint import best_of_stages, checkpoint_name, checkpoints
from vlframe.runs.folder import RunFolder, write_json
from vlframe.training.record import record_saved

if TYPE_CHECKING:
    from vlframe.training.standing import Standing


class SaveCheckpoints(Callback):
    """Saves a checkpoint every ``every`` optimizer steps, one at the end of the stage, and with ``best`` one of its
    best evaluation, which ``best.json`` names; only the newest ``keep`` and the best are kept.
    """

    def __init__(self, folder: RunFolder, *, every: int, keep: int, best: bool) -> None:
        self.folder = folder
        self.every = every
        self.keep = keep
        self.best = best
        self.saved_step = -1

    def on_train_start(self, trainer: Trainer, module: Any) -> None:
        self._name_the_best(trainer, module)  # a resumed run may have been further before

    def on_train_batch_end(self, trainer: Trainer, module: Any, *_: Any) -> None:
        step = trainer.global_step
        # A stopped run is saved here too: at its very end Lightning counts the epoch as done, and could not continue in
        # the middle of it.
        due = step % self.every == 0 or trainer.should_stop or self._is_best(module, step)
        if step not in (0, self.saved_step) and due and step < module.steps:
            self._save(trainer, module)

    def on_train_end(self, trainer: Trainer, module: Any) -> None:
        if trainer.global_step != self.saved_step:
            self._save(trainer, module)

    def _is_best(self, module: Any, step: int) -> bool:
        standing: Standing = module.standing
        return self.best and standing.value is not None and standing.step == step

    def _save(self, trainer: Trainer, module: Any) -> None:
        self.saved_step = trainer.global_step
        trainer.save_checkpoint(self.folder.checkpoints / checkpoint_name(module.state()))
        self._name_the_best(trainer, module)
        if trainer.is_global_zero:
            record_saved(self.folder)
            mine = [item for item in checkpoints(self.folder) if item.stage == module.name]
            for old in mine[: -self.keep]:
                if self._is_best(module, old.step):
                    continue
                gone = old.path.with_name(f".{old.path.name}.gone")  # atomic, so that a kill never leaves half of one
                os.replace(old.path, gone)
                shutil.rmtree(gone)

    def _name_the_best(self, trainer: Trainer, module: Any) -> None:
        """Update ``best.json``, so that it never names a missing checkpoint."""
        if not (self.best and trainer.is_global_zero):
            return
        before = best_of_stages(self.folder)
        rows = {stage: row for stage, row in before.items() if stage != module.name}
        for item in checkpoints(self.folder):
            if item.stage == module.name and self._is_best(module, item.step):
                standing: Standing = module.standing
                row = {"checkpoint": item.path.name, "step": item.step, "by": standing.by, "value": standing.value}
                rows[module.name] = row
        if rows != before:
            write_json(self.folder.best, rows)


class Throughput(Callback):
    """Measures samples/s, tokens/s, the share of time spent waiting for data, and peak memory (GiB)."""

    def __init__(self) -> None:
        self._reset(time.perf_counter())
        self.waiting_since = self.computed_at = time.perf_counter()  # when the last micro-batch was computed
        self.scalars: dict[str, float] = {}  # the last row

    def _reset(self, now: float) -> None:
        self.since, self.waited, self.samples, self.tokens = now, 0.0, 0, 0

    def pause(self, seconds: float) -> None:
        """Exclude these seconds."""
        self.since += seconds
        self.waiting_since += seconds

    def on_train_start(self, trainer: Trainer, module: Any) -> None:
        self._reset(time.perf_counter())
        self.waiting_since = time.perf_counter()

    def on_train_batch_start(self, trainer: Trainer, module: Any, batch: Any, batch_index: int) -> None:
        self.waited += time.perf_counter() - self.waiting_since

    def on_train_batch_end(self, trainer: Trainer, module: Any, outputs: Any, batch: Any, batch_index: int) -> None:
        self.samples += len(batch)
        self.tokens += batch.ids_BS.numel()
        now = self.waiting_since = self.computed_at = time.perf_counter()
        boundary = (batch_index + 1) % trainer.accumulate_grad_batches == 0
        if boundary and module.row_is_due:
            elapsed = now - self.since
            counts = of_all_ranks((self.samples, self.tokens))  # batches differ between ranks
            self.scalars = {
                "train/samples_per_second": sum(samples for samples, _ in counts) / elapsed,
                "train/tokens_per_second": sum(tokens for _, tokens in counts) / elapsed,
                "train/data_wait_share": self.waited / elapsed,
                "train/peak_memory_gib": peak_memory_gib(),
            }
            for logger in trainer.loggers:
                logger.log_metrics(self.scalars, step=module.first_step + trainer.global_step)
            self._reset(now)


def peak_memory_gib() -> float:
    """Return the peak memory of the GPU if there is one, otherwise of the process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    kibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "darwin" else 1)
    return kibibytes / 2**20
