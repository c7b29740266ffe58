"""All code that uses Weights & Biases: login, identity of runs, history, tables of predictions, end of runs."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from lightning.pytorch.loggers import WandbLogger

from vlframe.config.schema import parts_of
from vlframe.contracts.modalities import MODALITIES
from vlframe.errors import ConfigError
from vlframe.runs.log import log

if TYPE_CHECKING:
    from lightning.pytorch.loggers.logger import Logger

    from vlframe.config.schema import RunConfig
    from vlframe.evaluation.evaluate import Prediction
    from vlframe.runs.outcome import Outcome
    from vlframe.training.metrics_file import MetricsFile

TEXTS = ("id", "category", "question", "answers", "text", "parsed")
# The files that W&B can show, by column: others appear only by name.
SHOWN = {
    "video": ("mp4", "webm", "ogg", "gif"),
    "image": ("png", "jpg", "jpeg", "gif", "bmp", "webp"),
    "audio": ("wav", "mp3", "ogg", "flac", "m4a"),
}
LOGGED_OUT = ("offline", "dryrun", "disabled", "shared")  # modes that need no login


def made_by_wandb(kind: type) -> bool:
    return issubclass(kind, WandbLogger)


def is_wandb(logger: Logger) -> TypeGuard[WandbLogger]:
    return isinstance(logger, WandbLogger)


def check_login(*, offline: bool, mode: str | None) -> None:
    """Raise ConfigError if W&B would ask for a login, which nobody can answer during a run."""
    import wandb

    if offline or (mode or os.environ.get("WANDB_MODE", "")) in LOGGED_OUT:
        return
    try:
        there = wandb.login(prompt=False, verify=False)
    except wandb.errors.Error as error:
        raise ConfigError(f"logger=wandb: the key of Weights & Biases cannot be used: {error}; {_NEXT}") from error
    if not there:
        raise ConfigError(f"logger=wandb: nobody is logged in to Weights & Biases on this machine; {_NEXT}")


_NEXT = "run `wandb login`, or set WANDB_API_KEY, or log only to files with WANDB_MODE=offline"


LONGEST_NAME, LONGEST_TAG = 128, 64  # characters that W&B takes
TOLD_BY_TAGS = ("experiment", "model", "benchmark", "debug")  # besides the parts


def with_identity(item: Mapping[str, Any], config: RunConfig) -> dict[str, Any]:
    """Add the run's identity to a logger's settings: name, group, job type and tags. Values set by the user are
    kept.
    """
    sweep = config.sweep.folder
    own = {
        "name": display_name(config),
        "group": f"sweep-{Path(sweep).name}" if sweep else config.name,
        "job_type": "train",
    }
    return {**own, **item, "tags": list(dict.fromkeys([*_tags(config), *(item.get("tags") or ())]))}


def display_name(config: RunConfig) -> str:
    """Return a name: for a job of a sweep, its distinguishing overrides (``<preset>-seed1``); for any other run, its
    experiment, the typed parts, and its seed.
    """
    if config.sweep.words:
        words = [_spoken(word, config) for word in config.sweep.words]
    else:
        typed = [word.lstrip("+").partition("=")[::2] for word in config.words]
        parts = ("model", *parts_of(config))
        words = [config.name, *(name for group, name in typed if group in parts), f"seed{config.seed}"]
    return "-".join(words)[:LONGEST_NAME]


def _spoken(word: str, config: RunConfig) -> str:
    key, _, value = word.lstrip("+").partition("=")
    if key == "seed":
        return f"seed{value}"
    return value if key in config.choices else f"{key}={value}"


def _tags(config: RunConfig) -> list[str]:
    deaf = [item.connector for item in MODALITIES.values() if getattr(config, item.encoder) is None]
    told = [group for group in (*parts_of(config), *TOLD_BY_TAGS) if group not in deaf]
    chosen = [f"{group}={config.choices[group]}" for group in told if group in config.choices]
    return [tag[:LONGEST_TAG] for tag in (*chosen, f"seed={config.seed}")]


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
        """Log a table. Every column has one type, however many rows there are: names of media are text, and each shown
        kind of media and each metric has its own column.
        """
        import wandb

        rows = [_row(item, shown=number < with_media) for number, item in enumerate(predictions)]
        kinds = [kind for kind in SHOWN if any(kind in row for row in rows)]
        metrics = _metric_types(predictions)
        columns = [*TEXTS[:2], "media", *kinds, *TEXTS[2:], *metrics]
        types: dict[str, type] = {**{kind: _media_types()[kind] for kind in kinds}, **metrics}
        table = wandb.Table(columns=[*columns], dtype=[types.get(name, str) for name in columns], optional=True)
        for row in rows:
            table.add_data(*(row.get(name) for name in columns))
        self._begin(math.inf)  # a table comes after all steps
        self.log_late({key: table}, max(self.at, 0))

    def finish(self, outcome: Outcome) -> None:
        """Mark the run: W&B shows ``failed`` for a nonzero exit code. A run stays open until finished, and would absorb
        the next job of a multirun.
        """
        self._begin(math.inf)
        run = self.logger.experiment
        run.summary.update({f"run/{key}": value for key, value in _summary(outcome).items()})
        run.finish(exit_code=outcome.exit_code)


def _summary(outcome: Outcome) -> dict[str, Any]:
    return {
        "outcome": outcome.state,
        "why": unicode_only(outcome.why),
        "steps_done": outcome.steps_done,
        "steps_asked": outcome.steps_asked,
    }


def _row(prediction: Prediction, *, shown: bool) -> dict[str, Any]:
    """Return cells by column; a medium only if it should and can be shown."""
    row = prediction.row()
    row["answers"] = " | ".join(row["answers"])
    cells = {name: None if row[name] is None else unicode_only(row[name]) for name in TEXTS}
    media = ", ".join(unicode_only(name) for name in dict.fromkeys(row["media"]))
    return {**cells, "media": media, **_metrics(prediction), **(_media(prediction) if shown else {})}


def _metrics(prediction: Prediction) -> dict[str, bool | float]:
    """Return an answer's own metrics, without numbers that are summed over answers."""
    return {name: value for name, value in prediction.scores.items() if isinstance(value, int | float)}


def _metric_types(predictions: Sequence[Prediction]) -> dict[str, type]:
    """Return the column type of each metric: bool, or float."""
    found: dict[str, type] = {}
    for prediction in predictions:
        found |= {name: type(value) for name, value in _metrics(prediction).items()}
    return found


def _media(prediction: Prediction) -> Mapping[str, Any]:
    """Return the first file of each kind, in W&B's form."""
    cells: dict[str, Any] = {}
    for item in prediction.sample.media:
        if item.kind in cells or item.track or item.path.suffix.lstrip(".").lower() not in SHOWN.get(item.kind, ()):
            continue
        try:
            cells[item.kind] = _media_types()[item.kind](str(item.path))
        except Exception as error:  # missing, damaged, or not of the format its name says: only its name is shown
            log.info("%s is not shown in W&B: %s", unicode_only(str(item.path)), unicode_only(str(error)))
    return cells


def _media_types() -> dict[str, type]:
    import wandb

    return {"video": wandb.Video, "image": wandb.Image, "audio": wandb.Audio}


def unicode_only(text: str) -> str:
    r"""Return the text with invalid Unicode (half a surrogate pair) escaped, as ``\ud83d``."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
