"""The loggers of ``vlframe evaluate``: they join what they logged for the run, without changing it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vlframe.config.schema import RunConfig
from vlframe.runs.folder import RunFolder
from vlframe.runs.outcome import Outcome
from vlframe.runs.unlogged import Unlogged
from vlframe.training.loggers import RunLoggers

if TYPE_CHECKING:
    from lightning.pytorch.loggers.logger import Logger

    from vlframe.evaluation.evaluate import Prediction
    from vlframe.evaluation.scores import Evaluation
    from vlframe.registry.registry import Registry


class JoinedLoggers(RunLoggers):
    """Logs the evaluation of a run that was trained before.

    Scores under the run's own config are logged as its scores (``eval/…``), those under another (``changes``, by key)
    as ``evaluations/<name>/…``, with the changes in the logged config. The training's metrics.csv is not changed.
    """

    def __init__(
        self,
        config: RunConfig,
        registry: Registry,
        folder: RunFolder,
        unlogged: Unlogged,
        more: Mapping[str, Any],
        *,
        name: str,
        changes: Mapping[str, Any],
    ) -> None:
        self.folder = folder
        self.place = f"evaluations/{name}" if changes else "eval"
        of_changes = {"evaluations": {name: dict(changes)}} if changes else {}
        super().__init__(config, registry, folder, unlogged, {**more, **of_changes})

    @property
    def heard_by(self) -> Sequence[Logger]:
        return self.configured

    def log_scores(self, scores: Evaluation, step: int) -> None:
        self.log_at_end({f"{self.place}/{key}": value for key, value in scores.flat().items()}, step)

    def log_predictions(self, predictions: Sequence[Prediction], with_media: int, prefix: str) -> None:
        key = f"{prefix}predictions" if self.place == "eval" else f"{self.place}/{prefix}predictions"
        self._log_tables(predictions, with_media, key)

    def leave(self) -> None:
        """Close the loggers, leaving the run's outcome as it was."""
        self.close(Outcome.read(self.folder) or Outcome("done", "", 0, 0, 0))
