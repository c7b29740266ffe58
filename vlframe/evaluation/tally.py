"""Turns judged answers into Scores: each metric with its interval, overall and by category."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from vlframe.contracts.benchmark import Metric
from vlframe.evaluation.controls import Control, paired_control
from vlframe.evaluation.scores import Cost, Estimate, Scores, Tallies, Tally
from vlframe.evaluation.statistics import Interval, bootstrap, bootstrap_mean, chance, wilson

if TYPE_CHECKING:
    from vlframe.evaluation.evaluate import Outcome, Prediction


def scores_of(
    seeing: Outcome, blind: Outcome | None, quarantined: Mapping[str, int], cost: Cost | None = None
) -> Scores:
    """Return the scores of an evaluation, and of the same questions asked without media."""
    return Scores(
        seeing=_tallies(seeing),
        seconds=seeing.seconds,
        blind=None if blind is None else _tallies(blind),
        quarantined=dict(quarantined),
        cost=cost,
        controls=_controls(seeing),
    )


def _controls(outcome: Outcome) -> dict[str, Control]:
    """Return what became of the primary score under each control, on the questions that it touches."""
    metric = outcome.metrics[0]
    pairs: dict[str, list[tuple[float, float, str]]] = {}
    for item in outcome.predictions:
        for name, other in item.controls.items():
            values = (item.scores[metric.name], other.scores[metric.name])
            plain, taken = (float(value) if isinstance(value, int | float) else None for value in values)
            if plain is not None and taken is not None:
                pairs.setdefault(name, []).append((plain, taken, item.group))
    return {name: paired_control(found, shares=metric.value is bool) for name, found in pairs.items()}


def _tallies(outcome: Outcome) -> Tallies:
    groups = outcome.categories()
    categories = {name: _tally(items, outcome.asked[name], outcome.metrics) for name, items in groups.items()}
    return Tallies(_tally(outcome.predictions, sum(outcome.asked.values()), outcome.metrics), categories)


def _tally(predictions: Sequence[Prediction], asked: int, metrics: Sequence[Metric]) -> Tally:
    return Tally(
        asked=asked,
        n=len(predictions),
        unparsed=sum(item.parsed is None for item in predictions),
        metrics={metric.name: _estimate(metric, predictions) for metric in metrics},
        chance=chance(len(item.sample.options) for item in predictions),
    )


def _estimate(metric: Metric, predictions: Sequence[Prediction]) -> Estimate:
    judged = [item for item in predictions if item.scores[metric.name] is not None]
    interval = _interval(metric, judged)
    read = [item for item in judged if item.parsed is not None]
    answered = interval.value if len(read) == len(judged) else _score(metric, read)
    return Estimate(interval.value, interval.low, interval.high, len(judged), answered)


def _interval(metric: Metric, judged: Sequence[Prediction]) -> Interval:
    if not judged:
        return Interval(float("nan"), float("nan"), float("nan"))
    groups, bounds = [item.group for item in judged], (metric.low, metric.high)
    if metric.of_sums is not None:
        return bootstrap(_rows(metric, judged), metric.of_sums, groups, bounds=bounds)
    values = _values(metric, judged)
    if metric.value is bool:
        return wilson(round(sum(values)), len(values))
    return bootstrap_mean(values, groups, bounds=bounds)


def _score(metric: Metric, judged: Sequence[Prediction]) -> float:
    if not judged:
        return float("nan")
    if metric.of_sums is not None:
        return float(metric.of_sums([sum(column) for column in zip(*_rows(metric, judged), strict=True)]))
    values = _values(metric, judged)
    return sum(values) / len(values)


def _values(metric: Metric, judged: Sequence[Prediction]) -> list[float]:
    return [float(value) for item in judged if isinstance(value := item.scores[metric.name], int | float)]


def _rows(metric: Metric, judged: Sequence[Prediction]) -> list[tuple[float, ...]]:
    return [value for item in judged if isinstance(value := item.scores[metric.name], tuple)]
