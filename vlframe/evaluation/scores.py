"""The structured result of an evaluation: counts, and each metric, overall and by category.

``Evaluation`` holds the ``Scores`` of each benchmark, for use in code. ``flat`` derives the flat keys of
``metrics.json`` and loggers from it, in one place.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from vlframe.evaluation.controls import Control


@dataclass(frozen=True)
class Estimate:
    """The score of one metric with its 95 % interval; NaN if unknown.

    ``n`` counts the answers to which the metric applies. ``answered`` is the score among parsed texts: compare it with
    chance if many were not parsed.
    """

    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    n: int = 0
    answered: float = math.nan

    def tree(self) -> dict[str, Any]:
        return {key: _plain(value) for key, value in asdict(self).items()}

    @classmethod
    def from_tree(cls, tree: Mapping[str, Any]) -> Estimate:
        numbers: dict[str, Any] = {key: math.nan if value is None else value for key, value in tree.items()}
        return cls(**numbers)


@dataclass(frozen=True)
class Tally:
    """Counts and scores of a set of questions. Shares of nothing are NaN."""

    asked: int  # questions of the benchmark, including those quarantined
    n: int  # of these, put to the model
    unparsed: int  # texts that are no answer to the question; each counts as the worst value
    metrics: Mapping[str, Estimate]  # by name, the primary one first
    chance: float = math.nan  # accuracy of picking an option at random; NaN if a question has no options

    @property
    def primary(self) -> Estimate:
        return next(iter(self.metrics.values()))

    @property
    def answered(self) -> float:
        """Return the share of questions whose text was parsed."""
        return (self.n - self.unparsed) / self.n if self.n else math.nan

    def tree(self) -> dict[str, Any]:
        """Return plain values; NaN becomes None."""
        return {
            "asked": self.asked,
            "n": self.n,
            "unparsed": self.unparsed,
            "answered": _plain(self.answered),
            "chance": _plain(self.chance),
            "metrics": {name: item.tree() for name, item in self.metrics.items()},
        }

    @classmethod
    def from_tree(cls, tree: Mapping[str, Any]) -> Tally:
        metrics = {name: Estimate.from_tree(item) for name, item in tree["metrics"].items()}
        chance = math.nan if tree["chance"] is None else tree["chance"]
        return cls(tree["asked"], tree["n"], tree["unparsed"], metrics, chance)


@dataclass(frozen=True)
class Tallies:
    """One pass over a benchmark: all its questions, and each category's (in the order of their names)."""

    overall: Tally
    categories: Mapping[str, Tally] = field(default_factory=dict)

    def named(self) -> Iterable[tuple[str, Tally]]:
        """Return each category by its name, and the total as ""."""
        return [*self.categories.items(), ("", self.overall)]

    def tree(self) -> dict[str, Any]:
        return {
            "overall": self.overall.tree(),
            "categories": {name: item.tree() for name, item in self.categories.items()},
        }

    @classmethod
    def from_tree(cls, tree: Mapping[str, Any]) -> Tallies:
        categories = {name: Tally.from_tree(item) for name, item in tree["categories"].items()}
        return cls(Tally.from_tree(tree["overall"]), categories)


@dataclass(frozen=True)
class Cost:
    """The training cost and model size behind the scores."""

    tokens_per_clip: int  # media tokens of a clip, at the number of frames of the evaluation
    parameters: Mapping[str, int]  # by part
    train_seconds: float


@dataclass(frozen=True)
class Scores:
    """The result of one benchmark."""

    seeing: Tallies
    seconds: float  # of the evaluation, with media
    blind: Tallies | None = None  # the same model without media; None: not run
    quarantined: Mapping[str, int] = field(default_factory=dict)  # questions that were not asked, by reason
    cost: Cost | None = None
    controls: Mapping[str, Control] = field(default_factory=dict)  # the primary score with something taken away

    @property
    def overall(self) -> Tally:
        return self.seeing.overall

    @property
    def categories(self) -> Mapping[str, Tally]:
        return self.seeing.categories

    @property
    def samples_per_second(self) -> float:
        return self.overall.n / self.seconds if self.seconds else math.nan

    def tree(self) -> dict[str, Any]:
        return {
            **self.seeing.tree(),
            "blind": None if self.blind is None else self.blind.tree(),
            "quarantined": dict(self.quarantined),
            "seconds": self.seconds,
            "cost": None if self.cost is None else asdict(self.cost),
            "controls": {name: item.tree() for name, item in self.controls.items()},
        }

    @classmethod
    def from_tree(cls, tree: Mapping[str, Any]) -> Scores:
        return cls(
            seeing=Tallies.from_tree(tree),
            seconds=tree["seconds"],
            blind=None if tree["blind"] is None else Tallies.from_tree(tree["blind"]),
            quarantined=tree["quarantined"],
            cost=None if tree["cost"] is None else Cost(**tree["cost"]),
            controls={name: Control.from_tree(item) for name, item in tree.get("controls", {}).items()},
        )

    def flat(self) -> dict[str, float | int]:
        """Return ``<metric>``, ``<metric>_low``, ``<metric>/<category>``, …; NaN is left out."""
        result: dict[str, float | int] = {}
        for name, item in self.seeing.named():
            values = {"n": item.n, "n_asked": item.asked, "unparsed": item.unparsed, "chance": item.chance}
            result |= _keys("", name, {**_metrics(item), **values})
        for name, item in self.blind.named() if self.blind else ():
            values = {"n": item.n, "unparsed": item.unparsed, "answered": item.answered}
            values |= {f"{metric}_answered": estimate.answered for metric, estimate in item.metrics.items()}
            result |= _keys("blind_", name, {**_metrics(item), **values})
        for name, control in self.controls.items():
            values = {key: value for key, value in control.tree().items() if value is not None}
            result |= {f"control_{name}" if key == "score" else f"control_{name}_{key}": value
                       for key, value in values.items()}  # fmt: skip
        result["samples_per_second"] = self.samples_per_second
        result |= {f"quarantined/{why}": count for why, count in self.quarantined.items()}
        result |= _flat_cost(self.cost) if self.cost else {}
        return {key: value for key, value in result.items() if not math.isnan(value)}


@dataclass(frozen=True)
class Evaluation:
    """The scores of each benchmark of a run, by name. The flat keys of ``main`` (the run's ``benchmark``) have no
    prefix; those of others begin with the benchmark's name."""

    benchmarks: Mapping[str, Scores]
    main: str | None = None

    @property
    def first(self) -> Scores:
        """Return the scores of the main benchmark, or else of the first."""
        return self.benchmarks[self.first_name]

    @property
    def first_name(self) -> str:
        return next(iter(self.benchmarks)) if self.main is None else self.main

    @property
    def primary_metric(self) -> str:
        """Return the flat key of the primary metric of the first benchmark."""
        return self.prefix(self.first_name) + next(iter(self.first.overall.metrics))

    def prefix(self, name: str) -> str:
        """Return what the flat keys of a benchmark begin with."""
        return "" if name == self.main else f"{name}/"

    def tree(self) -> dict[str, Any]:
        """Return the content of ``scores.json``."""
        return {"main": self.main, "benchmarks": {name: item.tree() for name, item in self.benchmarks.items()}}

    @classmethod
    def from_tree(cls, tree: Mapping[str, Any]) -> Evaluation:
        return cls({name: Scores.from_tree(item) for name, item in tree["benchmarks"].items()}, tree["main"])

    def flat(self) -> dict[str, float | int]:
        """Return the content of ``metrics.json``, as sent to loggers."""
        return {
            f"{self.prefix(name)}{key}": value
            for name, item in self.benchmarks.items()
            for key, value in item.flat().items()
        }


def _metrics(item: Tally) -> dict[str, float | int]:
    """Return each metric with its interval, and its number of answers if it does not apply to all."""
    result: dict[str, float | int] = {}
    for name, estimate in item.metrics.items():
        result |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
        result |= {f"{name}_n": estimate.n} if estimate.n != item.n else {}
    return result


def _keys(prefix: str, name: str, values: Mapping[str, float | int]) -> dict[str, float | int]:
    suffix = f"/{name}" if name else ""
    return {f"{prefix}{key}{suffix}": value for key, value in values.items()}


def _flat_cost(cost: Cost) -> dict[str, float | int]:
    return {
        "tokens_per_clip": cost.tokens_per_clip,
        "parameters": sum(cost.parameters.values()),
        **{f"parameters/{name}": count for name, count in cost.parameters.items()},
        "train_seconds": cost.train_seconds,
    }


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value
