"""The loggers of a run: the CSV, always on, and the configured ones, none of which can end the run."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from inspect import getattr_static
from typing import TYPE_CHECKING, Any

from lightning.pytorch.loggers import CometLogger, MLFlowLogger
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from vlframe.config.fields import is_component
from vlframe.config.schema import RunConfig
from vlframe.config.typed import plain
from vlframe.distributed.ranks import place, world_size
from vlframe.errors import ConfigError, one_line
from vlframe.model.assemble import typical_tokens
from vlframe.runs.folder import RunFolder, own_version
from vlframe.runs.outcome import Outcome
from vlframe.runs.unlogged import Unlogged
from vlframe.training.comet_login import check_comet
from vlframe.training.instantiate import class_of, lightning_objects
from vlframe.training.metrics_file import MetricsFile
from vlframe.training.wandb_identity import axes_of, with_identity
from vlframe.training.wandb_login import check_login
from vlframe.training.wandb_runs import WandbRun, is_wandb, made_by_wandb

if TYPE_CHECKING:
    from vlframe.contracts.token_budget import TokenBudget
    from vlframe.evaluation.evaluate import Prediction
    from vlframe.evaluation.scores import Evaluation
    from vlframe.registry.registry import Registry


def check_loggers(loggers: Mapping[str, Any], registry: Registry) -> None:
    """Check that the configured loggers can be built, before there is a run folder. ConfigError, PluginError if one
    cannot: its package is not installed, its service needs a login, its class fails.

    All are built once for a trial, except Comet's, which would begin an experiment there.
    """
    for name, item in loggers.items():
        if is_component(item):
            _try_to_build(name, item, registry)
            continue
        kind = class_of(name, str(item.get("_target_", "")))
        if kind is CometLogger:
            check_comet(name, item)
            continue
        _try_to_build(name, item, registry)
        if made_by_wandb(kind):
            check_login(offline=bool(item.get("offline", False)), mode=item.get("mode"))


def _try_to_build(name: str, item: Mapping[str, Any], registry: Registry) -> None:
    with tempfile.TemporaryDirectory() as nowhere:
        lightning_objects("logger", {name: item}, registry, {"save_dir": nowhere, "version": "trial"})


def facts(config: RunConfig, budget: TokenBudget) -> dict[str, Any]:
    """Return derived facts to sort and filter logged configs by, which no key contains."""
    ranks, axes = world_size(config.trainer), axes_of(config)
    return {
        **({"axes": axes} if axes else {}),
        "vlframe": own_version(),
        "tokens_per_clip": typical_tokens(budget, "video", budget.frames) if "video" in budget.branches else None,
        "global_batch": {  # samples of an optimizer step
            name: stage.batch_size * stage.accumulate_grad_batches * ranks for name, stage in config.stages.items()
        },
    }


class RunLoggers:
    """Sends a run's results to its loggers, besides its folder. Every call is isolated: see ``Unlogged``. ``more`` is
    logged with the config.
    """

    def __init__(
        self,
        config: RunConfig,
        registry: Registry,
        folder: RunFolder,
        unlogged: Unlogged,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        self.unlogged = unlogged
        self.metrics = MetricsFile(folder.metrics_csv)
        self.configured = _made(config, registry, folder)
        self.wandb = {id(logger): WandbRun(logger, self.metrics) for logger in self.configured if is_wandb(logger)}
        for logger in self.configured:
            self._begin(logger, {**plain(config), **(more or {})})

    @property
    def of_trainer(self) -> list[Isolated]:
        """Return the loggers for Lightning's Trainer, which calls them in every step."""
        return [Isolated(logger, self.unlogged, self.wandb.get(id(logger))) for logger in self.heard_by]

    @property
    def heard_by(self) -> Sequence[Logger]:
        return [self.metrics, *self.configured]

    def _begin(self, logger: Logger, values: dict[str, Any]) -> None:
        """Log the config, which is the first contact with most services."""
        try:
            logger.log_hyperparams(named_for(logger, values))
        except (Exception, SystemExit) as error:
            raise ConfigError(
                f"the logger {type(logger).__name__} cannot begin: {one_line(error)}; leave it out (logger=null), or "
                f"fix that"
            ) from error

    def log_metrics(self, values: Mapping[str, float], step: int) -> None:
        """Log the same scalars to all."""
        for logger in self.of_trainer:
            logger.log_metrics(dict(values), step=step)

    def log_at_end(self, values: Mapping[str, float], step: int) -> None:
        """Log values that are not a training step repeated by a resumed run; W&B gets them even if it has the step."""
        for logger in self.of_trainer:
            if logger.wandb is None:
                logger.log_metrics(dict(values), step=step)
            else:
                logger.isolated(logger.wandb.log_late, values, step)

    def log_scores(self, scores: Evaluation, step: int) -> None:
        self.log_at_end({f"eval/{key}": value for key, value in scores.flat().items()}, step)

    def log_predictions(self, predictions: Sequence[Prediction], with_media: int, prefix: str) -> None:
        """Log a table of a benchmark's predictions to loggers with tables. The first ``with_media`` rows show their
        media, the others only names. ``prefix`` is that of the benchmark's keys.
        """
        self._log_tables(predictions, with_media, f"{prefix}predictions")

    def _log_tables(self, predictions: Sequence[Prediction], with_media: int, key: str) -> None:
        for run in self.wandb.values():
            with self.unlogged.kept("the table of predictions in W&B"):
                run.log_predictions(predictions, with_media, key)

    @rank_zero_only
    def close(self, outcome: Outcome) -> None:
        """Report to every logger how the run ended."""
        for logger in self.of_trainer:
            logger.finalize("failed" if outcome.state == "failed" else "success")
        for run in self.wandb.values():
            with self.unlogged.kept("the end of the run in W&B"):
                run.finish(outcome)


def _made(config: RunConfig, registry: Registry, folder: RunFolder) -> list[Any]:
    """Build a run's configured loggers. Their files go into its folder, and the folder's name is W&B's run id, so that
    a resumed run and its evaluations are the same W&B run.
    """
    own = {"save_dir": str(folder.path.resolve()), "version": folder.path.resolve().name}
    items = {
        name: with_identity(item, config) if _is_wandbs(name, item) else item for name, item in config.logger.items()
    }
    return lightning_objects("logger", items, registry, own)


def _is_wandbs(name: str, item: Mapping[str, Any]) -> bool:
    return not is_component(item) and made_by_wandb(class_of(name, str(item.get("_target_", ""))))


def named_for(logger: Logger, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values under names that a logger takes: MLflow refuses a run with ``stage@stages.main`` in its config, and
    in its files a metric cannot be another's folder (``eval/accuracy`` and ``eval/accuracy/left``).
    """
    if not isinstance(logger, MLFlowLogger):
        return dict(values)
    return {
        re.sub(r"[^\w.: -]", "_", name.replace("/", ".")): named_for(logger, value)
        if isinstance(value, Mapping)
        else value
        for name, value in values.items()
    }


class Isolated(Logger):
    """A logger whose failures are counted instead of raised. ``wandb`` takes the scalars if it is W&B's."""

    def __init__(self, logger: Logger, unlogged: Unlogged, wandb: WandbRun | None = None) -> None:
        super().__init__()
        self.logger = logger
        self.unlogged = unlogged
        self.wandb = wandb

    def isolated(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        with self._kept():
            method(*args, **kwargs)

    def _kept(self) -> AbstractContextManager[None]:
        return self.unlogged.kept(f"logging to {type(self.logger).__name__}")

    def _call(self, method: str, *args: Any, **kwargs: Any) -> None:
        with self._kept():  # looking a method up may fail, too
            getattr(self.logger, method)(*args, **kwargs)

    def _value(self, name: str, otherwise: Any = None) -> Any:
        """Return an attribute of the logger; ``otherwise`` if that fails."""
        with self._kept():
            return getattr(self.logger, name)
        return otherwise

    @property
    def name(self) -> str | None:
        return self._value("name")

    @property
    def version(self) -> int | str | None:
        return self._value("version")

    @property
    def root_dir(self) -> str | None:
        return self._value("root_dir")

    @property
    def log_dir(self) -> str | None:
        return self._value("log_dir")

    @property
    def save_dir(self) -> str | None:
        return self._value("save_dir")

    @property
    def group_separator(self) -> str:
        return str(self._value("group_separator", otherwise="/"))

    @property
    def experiment(self) -> Any:
        """Return the service's own run, for callbacks that use it; None if it has none."""
        absent = getattr_static(self.logger, "experiment", None) is None  # not hasattr, which hides its failure
        return None if absent else self._value("experiment")

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        if self.wandb is None or step is None:
            self._call("log_metrics", named_for(self.logger, metrics), step=step)
        elif place()[0] == 0:
            self.isolated(self.wandb.log_metrics, metrics, step)

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        self._call("log_hyperparams", params, *args, **kwargs)

    def log_graph(self, *args: Any, **kwargs: Any) -> None:
        self._call("log_graph", *args, **kwargs)

    def after_save_checkpoint(self, checkpoint_callback: Any) -> None:
        self._call("after_save_checkpoint", checkpoint_callback)

    def save(self) -> None:
        self._call("save")

    def finalize(self, status: str) -> None:
        self._call("finalize", status)
