"""A run's history on Weights & Biases while it is under way: steps, scores, tables of predictions, its end."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeGuard

from lightning.pytorch.loggers import WandbLogger

from vlframe.runs.log import log
from vlframe.training.wandb_identity import summary_of
from vlframe.training.wandb_tables import prediction_table

if TYPE_CHECKING:
    from lightning.pytorch.loggers.logger import Logger

    from vlframe.evaluation.evaluate import Prediction
    from vlframe.runs.outcome import Outcome
    from vlframe.training.metrics_file import MetricsFile


def made_by_wandb(kind: type) -> bool:
    return issubclass(kind, WandbLogger)


def is_wandb(logger: Logger) -> TypeGuard[WandbLogger]:
    return isinstance(logger, WandbLogger)


class WandbRun:
    """One logger's run on W&B. Each optimizer step is a row of its history, under its own number.

    A resumed run also has its earlier history: if W&B does not have it (offline each process writes its own files, and
    the last of them counts when synced), from ``metrics``. Rows that W&B has are not sent again.
    """

    def __init__(self, logger: WandbLogger, metrics: MetricsFile | None = None) -> None:
        self.logger = logger
        self.metrics = metrics
        self.at = -1  # the row being written
        self.begun = False

    def log_metrics(self, values: Mapping[str, float], step: int) -> None:
        """Log a training step. Steps that W&B already has were logged by an earlier process, after the checkpoint that
        this one resumed from, and are skipped.
        """
        self._begin(step)
        if max(step, self.at) >= self.first_new:
            self._log(values, step)

    def log_late(self, values: Mapping[str, Any], step: int) -> None:
        """Log values even if W&B already has the step."""
        self._begin(step)
        self._log(values, step)

    @property
    def first_new(self) -> int:
        """Return the first row that W&B does not have."""
        return int(self.logger.experiment.starting_step)

    def _begin(self, step: float) -> None:
        if self.begun:
            return
        self.begun = True
        if self.metrics is None or self.logger.experiment.resumed:
            return
        for row in self.metrics.history():
            if row["step"] <= step:
                self._log({key: value for key, value in row.items() if key != "step"}, int(row["step"]))

    def _log(self, values: Mapping[str, Any], step: int) -> None:
        """Log to the row of the step, or to the newest row: W&B rejects earlier rows, and callbacks count only the
        steps of their stage.
        """
        if (row := max(step, self.at, self.first_new)) > self.at:
            values = {**values, "trainer/global_step": step}
        self.at = row
        self.logger.experiment.log(dict(values), step=row)

    def log_predictions(self, predictions: Sequence[Prediction], with_media: int, key: str = "predictions") -> None:
        """Log a table, the first ``with_media`` rows with their media."""
        media = [[(item.kind, item.path) for item in answer.sample.media if not item.track]
                 for answer in predictions[:with_media]]  # fmt: skip
        table, problems = prediction_table([item.row() for item in predictions], media)
        for problem in problems:
            log.info("%s", problem)
        self._begin(math.inf)  # a table comes after all steps
        self.log_late({key: table}, max(self.at, 0))

    def finish(self, outcome: Outcome) -> None:
        """Mark the run: W&B shows ``failed`` for a nonzero exit code. A run stays open until finished, and would absorb
        the next job of a multirun.
        """
        self._begin(math.inf)
        run = self.logger.experiment
        run.summary.update(summary_of(outcome))
        run.finish(exit_code=outcome.code_for_services)
