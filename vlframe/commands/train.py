"""``vlframe train``: train the stages in order, evaluate, and return the value that a sweeper optimizes."""

from __future__ import annotations

import csv
import json
import math
from typing import TYPE_CHECKING

from vlframe.errors import ConfigError

if TYPE_CHECKING:
    from vlframe.config.schema import RunConfig
    from vlframe.registry.registry import Registry
    from vlframe.runs.folder import RunFolder

USAGE = (
    ("train experiment=quickstart", "train, then evaluate; any key can be overridden"),
    ("train experiment=quickstart connector=<name> seed=2", "with another connector"),
    ("train -m experiment=quickstart seed=1,2,3", "one run for each"),
    ("train resume=runs/quickstart/<id>", "go on where it stopped; overrides are applied where resuming allows them"),
    ("train experiment=quickstart debug=fast", "two steps of each stage, eight questions"),
)
LOSS = "loss"


def main(words: list[str]) -> int:
    from vlframe.commands.compare import show_sweep
    from vlframe.composer.command_line import parse
    from vlframe.composer.jobs import run_jobs

    run_jobs("train", "vlframe.commands.train:train", parse("train", words), after_sweep=show_sweep)
    return 0


def train(config: RunConfig, registry: Registry) -> float | None:
    """Train, evaluate, and return the optimized metric; None if a run that stopped early has none."""
    from vlframe.config.asking import benchmarks_of
    from vlframe.training.asked import check_asked

    if config.optimized_metric not in (None, LOSS) and not benchmarks_of(config):
        raise ConfigError(
            f"optimized_metric is {config.optimized_metric!r}, a score, and the run has no benchmark to give one; "
            f"choose a benchmark, or optimized_metric={LOSS}"
        )
    check_asked(config, registry)  # before what trains is imported, which takes seconds
    from vlframe.training.run import train as train_run

    return optimized_metric(config, train_run(config, registry))


def optimized_metric(config: RunConfig, folder: RunFolder) -> float | None:
    """Return the score that ``optimized_metric`` names, or the last training loss.

    ConfigError: the evaluation has no such score, or the run did not get that far.
    """
    from vlframe.config.asking import benchmarks_of

    if config.optimized_metric == LOSS or (config.optimized_metric is None and not benchmarks_of(config)):
        return _last_loss(folder)
    scores = json.loads(folder.metrics_json.read_text(encoding="utf-8")) if folder.metrics_json.is_file() else {}
    name = config.optimized_metric or _primary(folder)
    value = scores.get(name)
    if isinstance(value, int | float) and math.isfinite(value):
        return float(value)
    if config.optimized_metric is None:
        return None
    if name in scores:
        raise ConfigError(
            f"optimized_metric is {name!r}, and its value in this run is {value}, which no sweeper can compare"
        )
    found = f"its scores are {', '.join(scores)}" if scores else f"it stopped before the evaluation ({folder.path})"
    raise ConfigError(f"optimized_metric is {name!r}, which this run does not have; {found}")


def _primary(folder: RunFolder) -> str:
    """Return the key of the primary metric of the run's first benchmark; "" before there are scores."""
    from vlframe.evaluation.scores import Evaluation

    if not folder.scores.is_file():
        return ""
    return Evaluation.from_tree(json.loads(folder.scores.read_text(encoding="utf-8"))).primary_metric


def _last_loss(folder: RunFolder) -> float | None:
    if not folder.metrics_csv.is_file():
        return None
    with open(folder.metrics_csv, newline="", encoding="utf-8") as file:
        losses = [row["train/loss"] for row in csv.DictReader(file) if row.get("train/loss")]
    return float(losses[-1]) if losses else None
