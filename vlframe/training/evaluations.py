"""Evaluations during a stage: validation loss, benchmarks, the best checkpoint and early stopping.

None of this affects training: random state, modes and shards are restored, so that a run continues as if it had not
been evaluated, and a resumed run evaluates the same as an uninterrupted one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from lightning.pytorch import Callback, Trainer

from vlframe.distributed.ranks import place
from vlframe.distributed.sharding import ShardedStrategy
from vlframe.errors import ConfigError
from vlframe.runs.log import log
from vlframe.training.random_state import get_rng, set_rng
from vlframe.training.standing import LOSS
from vlframe.training.trainable import set_modes

if TYPE_CHECKING:
    from vlframe.config.schema import RunConfig
    from vlframe.evaluation.questions import Questions
    from vlframe.inference.pipeline import Pipeline
    from vlframe.training.callbacks import Throughput
    from vlframe.training.loggers import RunLoggers
    from vlframe.training.module import StageModule
    from vlframe.training.standing import Standing
    from vlframe.training.validation import Validation

VALIDATION_LOSS = "validation/loss"


def best_by(config: RunConfig, benchmarks: Sequence[Questions]) -> str:
    """Return the score that decides which evaluation is the best; "" if nothing is evaluated in training."""
    if config.evaluation.best_by is not None:
        return config.evaluation.best_by
    if config.validation.dataset is not None:
        return LOSS
    return benchmarks[0].primary_metric if benchmarks and config.evaluation.every is not None else ""


class Evaluate(Callback):
    """Evaluates every ``evaluation.every`` steps of a stage, and at its end; ends a stage that no longer improves.

    All ranks see the same numbers, and so decide the same. A stage that is about to stop is evaluated when it is
    resumed.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        loggers: RunLoggers,
        throughput: Throughput,
        validation: Validation | None,
        benchmarks: Sequence[Questions],
    ) -> None:
        self.pipeline = pipeline
        self.loggers = loggers
        self.throughput = throughput
        self.validation = validation
        self.benchmarks = benchmarks
        self.every = pipeline.config.evaluation.every
        self.by = best_by(pipeline.config, benchmarks)
        self.lower = self.by == LOSS or any(item.less_is_better(self.by) for item in benchmarks)
        self.patience = pipeline.config.early_stopping.patience

    def on_train_start(self, trainer: Trainer, module: Any) -> None:
        step = trainer.global_step
        if step and module.standing.evaluated != step and self._is_due(step, module):
            self._evaluate(trainer, module)

    def on_train_batch_end(self, trainer: Trainer, module: Any, outputs: Any, batch: Any, batch_index: int) -> None:
        if (batch_index + 1) % trainer.accumulate_grad_batches or trainer.should_stop:
            return
        if self._is_due(trainer.global_step, module):
            self._evaluate(trainer, module)

    def _is_due(self, step: int, module: StageModule) -> bool:
        return step == module.steps or (self.every is not None and step % self.every == 0)

    def _evaluate(self, trainer: Trainer, module: StageModule) -> None:
        began, step = time.perf_counter(), trainer.global_step
        with undisturbed(module):
            values = self._values(trainer, module)
        self.loggers.log_metrics(values, module.first_step + step)
        value = self._deciding(values)
        best = module.standing.offer(self.by, value, step, lower=self.lower)
        if place()[0] == 0:
            log.info(
                "stage %s, step %d: %s", module.name, step, _in_words(values, self.by, value, module.standing, best)
            )
        if self.patience is not None and module.standing.waited >= self.patience and step < module.steps:
            module.end_early()
            trainer.should_stop = True
        seconds = time.perf_counter() - began
        module.pause(seconds)
        self.throughput.pause(seconds)

    def _values(self, trainer: Trainer, module: StageModule) -> dict[str, float]:
        values: dict[str, float] = {}
        if self.validation is not None:
            values[VALIDATION_LOSS] = self.validation.loss(module)
        if self.benchmarks:
            from vlframe.evaluation.run import scores_in_training

            strategy = trainer.strategy
            with strategy.made_whole() if isinstance(strategy, ShardedStrategy) else nullcontext():
                scores = scores_in_training(self.benchmarks)
            values |= {f"eval/{key}": float(value) for key, value in scores.flat().items()}
        return values

    def _deciding(self, values: Mapping[str, float]) -> float:
        name = VALIDATION_LOSS if self.by == LOSS else f"eval/{self.by}"
        if name not in values:
            there = [key.removeprefix("eval/") for key in values if key.startswith("eval/")]
            raise ConfigError(
                f"evaluation.best_by is {self.by!r}, which the evaluations of this run do not have; they have "
                f"{', '.join([*([LOSS] if self.validation else []), *there])}"
            )
        return values[name]


def _in_words(values: Mapping[str, float], by: str, value: float, standing: Standing, best: bool) -> str:
    scores = {"validation loss": values.get(VALIDATION_LOSS), "accuracy": values.get("eval/accuracy")}
    if by != LOSS:
        scores[by] = value
    numbers = ", ".join(f"{name} {number:.4g}" for name, number in scores.items() if number is not None)
    if best:
        return f"{numbers}, the best so far"
    return f"{numbers}; the best was at step {standing.step}" if standing.value is not None else numbers


@contextmanager
def undisturbed(module: StageModule) -> Iterator[None]:
    """Evaluate inside in eval mode; afterwards restore modes and random state."""
    state = get_rng()
    module.model.eval()
    try:
        yield
    finally:
        set_modes(module.model)
        set_rng(state)
