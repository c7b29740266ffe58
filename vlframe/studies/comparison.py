"""Compares runs: one row per choice, averaged over seeds, against the first on the same questions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean
from typing import Any

from vlframe.config.asking import keys_of_every
from vlframe.errors import ConfigError
from vlframe.evaluation.controls import control_words
from vlframe.evaluation.crossed import crossed_difference, crossed_share
from vlframe.evaluation.scores import Scores
from vlframe.evaluation.statistics import Interval, over_seeds
from vlframe.studies.answers import Answers, shared
from vlframe.studies.controls import controls_of
from vlframe.studies.labels import Identity, labels
from vlframe.studies.recorded import Recorded


@dataclass(frozen=True)
class Row:
    """One choice. Unknown values are None."""

    label: str
    runs: tuple[str, ...]  # folders
    seeds: tuple[int, ...] = ()
    metric: str | None = None  # which one the score is: the primary one of the run's first benchmark
    score: Interval | None = None
    n: int | None = None  # questions that it is based on
    difference: Interval | None = None  # to the first row, on common questions
    common: int | None = None  # number of common questions
    blind: float | None = None  # the score without media
    tokens: int | None = None  # of a clip
    parameters: int | None = None
    trained: int | None = None  # the most parameters that a stage trained
    seconds: float | None = None  # of training; the mean over seeds
    state: str = "done"


@dataclass(frozen=True)
class Comparison:
    """The rows, and notes about them."""

    rows: list[Row]
    notes: list[str] = field(default_factory=list)


def compare(runs: Sequence[Recorded]) -> Comparison:
    """Compare runs. Those that differ only in their seed share a row; unfinished or unscored ones have one each."""
    groups = _grouped(runs)
    with_config = [group for group in groups if group[0].config]
    names = labels([Identity(group[0].config) for group in with_config], alone=_alone(with_config))
    named = dict(zip(map(id, with_config), names, strict=True))
    notes: list[str] = []
    rows = []
    first: list[Recorded] | None = None
    for group in groups:
        label = named.get(id(group)) or " ".join(word for word in group[0].words if not word.startswith("seed="))
        row, seeds = _row(label or "(unnamed)", group, notes)
        if first is None and seeds and seeds[0].scores:
            first = seeds
        elif first is not None and seeds:
            row = _against(row, first, seeds, notes)
        rows.append(row)
    return Comparison(rows, [*notes, *_meaning(rows)])


def _alone(groups: Sequence[Sequence[Recorded]]) -> str:
    return groups[0][0].name if groups else ""


def _grouped(runs: Sequence[Recorded]) -> list[list[Recorded]]:
    groups: dict[Any, list[Recorded]] = {}
    for number, run in enumerate(runs):
        whole = run.ended and run.scores is not None
        groups.setdefault(Identity(run.config).key if whole else number, []).append(run)
    return list(groups.values())


def _row(label: str, group: Sequence[Recorded], notes: list[str]) -> tuple[Row, list[Recorded]]:
    """Return a row without its difference, and the runs it is based on: the newest of each seed."""
    newest = {run.seed: run for run in sorted(group, key=lambda run: str(run.folder and run.folder.path.name))}
    kept = [run for run in group if newest[run.seed] is run]
    if len(kept) < len(group):
        notes.append(f"{label}: {len(group) - len(kept)} more run(s) of the same seed; the newest of each seed counts")
    seeds = tuple(run.seed for run in kept if run.seed is not None)
    folders = tuple(str(run.folder.path) for run in kept if run.folder)
    states = [run for run in kept if run.why]
    for run in states:
        seed = _seed_of(run)
        notes.append(f"{label}{f', seed {seed}' if seed else ''}: {run.why}")
    state = states[0].why.partition(":")[0].partition(" at ")[0] if states else "done"
    row = Row(label, folders, seeds or _seeds_in(kept[0]), state=state, trained=kept[0].trained)
    scores = [run.scores for run in kept if run.scores]
    notes += [f"{label}: {control_words(name, item)}" for name, item in controls_of(kept).items()] if scores else []
    return (_scored(row, kept, scores), kept) if scores else (row, [])


def _seed_of(run: Recorded) -> str:
    return str(run.seed) if run.seed is not None else "".join(map(str, _seeds_in(run)))


def _seeds_in(run: Recorded) -> tuple[int, ...]:
    """Return the seeds typed for a job that made no run."""
    typed = [word.removeprefix("seed=") for word in run.words if word.startswith("seed=")]
    return tuple(int(text) for text in typed if text.isdigit())


def _scored(row: Row, runs: Sequence[Recorded], scores: Sequence[Scores]) -> Row:
    interval, n = _score(runs, scores)
    blind = [item.blind.overall.primary.value for item in scores if item.blind]
    costs = [item.cost for item in scores if item.cost]
    more: dict[str, Any] = {
        "metric": runs[0].metric,
        "score": interval,
        "n": n,
        "blind": fmean(blind) if blind else None,
    }
    if costs:
        more |= {"tokens": costs[0].tokens_per_clip, "parameters": sum(costs[0].parameters.values())}
        more["seconds"] = fmean(item.train_seconds for item in costs)
    return Row(**{**row.__dict__, **more})


def _score(runs: Sequence[Recorded], scores: Sequence[Scores]) -> tuple[Interval, int]:
    """Compute the score from the answers, or if there are none, from the stored scores."""
    try:
        answers = [_answers(run) for run in runs]
        values, clips = shared(answers)
    except ConfigError:
        clips = []
    if clips and not any(item.graded for item in answers):
        return crossed_share(values, clips), len(clips)
    recorded = [item.overall.primary for item in scores]
    if len(recorded) == 1:
        return Interval(recorded[0].value, recorded[0].low, recorded[0].high), recorded[0].n
    return over_seeds([item.value for item in recorded]), min(item.n for item in recorded)


def _against(row: Row, first: Sequence[Recorded], second: Sequence[Recorded], notes: list[str]) -> Row:
    try:
        _refuse_other_judging(first[0], second[0])
        answers = [_answers(run) for run in (*first, *second)]
        values, clips = shared(answers)
        if not clips:
            raise ConfigError("they have no question in common that has a value of its own")
    except ConfigError as error:
        notes.append(f"{row.label}: no difference to the first is shown: {error}")
        return row
    graded = any(item.graded for item in answers)
    difference = crossed_difference(values[: len(first)], values[len(first) :], clips, shares=not graded).interval
    return Row(**{**row.__dict__, "difference": difference, "common": len(clips)})


def _answers(run: Recorded) -> Answers:
    return Answers(str(run.folder.path) if run.folder else "", run.answers)


def _refuse_other_judging(first: Recorded, second: Recorded) -> None:
    """Check that both benchmarks parse and judge answers alike; only the way they ask may differ."""
    if first.metric != second.metric:
        raise ConfigError(f"their scores are of different metrics ({first.metric!r} and {second.metric!r})")
    here, there = (_judging(run.config) for run in (first, second))
    for key in [*here, *there]:
        if here.get(key) != there.get(key):
            raise ConfigError(
                f"their benchmarks read answers in different ways ({key} is {here.get(key)!r} and {there.get(key)!r})"
            )


def _judging(config: Mapping[str, Any]) -> dict[str, Any]:
    others = (chosen for chosen in (config.get("benchmarks") or {}).values() if chosen)
    benchmark: Mapping[str, Any] = config.get("benchmark") or next(others, {})
    aside = {"dataset", *keys_of_every("benchmark")} - {"choice"}
    return {f"benchmark.{key}": value for key, value in benchmark.items() if key not in aside and value is not None}


def _meaning(rows: Sequence[Row]) -> list[str]:
    scored = [row for row in rows if row.score]
    if not scored:
        return []
    said = [
        "95 %: over clips, where several questions share one: what the same weights would reach on other questions of "
        "this kind"
    ]
    if any(len(row.seeds) > 1 for row in scored):
        said.append(
            "rows of several seeds: the mean over them, with an interval over clips and seeds, which holds for other "
            "seeds too"
        )
    if any(row.difference for row in rows):
        several = len(scored[0].seeds) > 1
        seeds = " (over seeds too, where both have several)" if several else ""
        said.append(
            f"difference: to the first row, question by question{seeds}; it is undecided if its interval contains 0"
        )
    return said


def as_data(comparison: Comparison) -> dict[str, Any]:
    """Return plain values for JSON; unknown ones are None."""
    return {"rows": [_plain(asdict(row)) for row in comparison.rows], "notes": comparison.notes}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value


def flat_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """Return one mapping of plain cells per row, for CSV."""
    cells = []
    for row in comparison.rows:
        flat: dict[str, Any] = {}
        for key, value in _plain(asdict(row)).items():
            if key in ("score", "difference"):
                flat |= {key: None, f"{key}_low": None, f"{key}_high": None}
                for name, number in (value or {}).items():
                    flat[key if name == "value" else f"{key}_{name}"] = number
            else:
                flat[key] = " ".join(map(str, value)) if isinstance(value, tuple | list) else value
        cells.append(flat)
    return cells


def shown_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """Return cells for display, with the same columns in each row: none in which nothing is known. The column of the
    score is named by its metric; if the rows have different ones, each row names its own.
    """
    metrics = {row.metric for row in comparison.rows if row.metric}
    score = metrics.pop() if len(metrics) == 1 else "score"
    cells = [_shown(row, score, several=bool(metrics)) for row in comparison.rows]
    empty = [name for name in cells[0] if all(cell[name] is None for cell in cells)] if cells else []
    return [{name: value for name, value in cell.items() if name not in empty} for cell in cells]


def _shown(row: Row, score: str, *, several: bool) -> dict[str, Any]:
    return {
        "label": row.label,
        "seeds": ",".join(map(str, row.seeds)) if len(row.seeds) <= 4 else f"{len(row.seeds)} seeds",
        "metric": row.metric if several else None,
        score: row.score and f"{row.score.value:.3f}",
        "95 %": row.score and borders(row.score, ".3f"),
        "n": row.n,
        "difference": row.difference and f"{row.difference.value:+.3f}",
        "95 % of it": row.difference and borders(row.difference, "+.3f"),
        "common": row.common,
        "blind": row.blind,
        "tokens": row.tokens,
        "parameters": row.parameters and f"{row.parameters:,}",
        "trained": row.trained and f"{row.trained:,}",
        "seconds": None if row.seconds is None else round(row.seconds, 1),
        "state": row.state,
    }


def borders(interval: Interval, form: str) -> str | None:
    if math.isnan(interval.low):
        return None
    return f"{interval.low:{form}}{' to ' if '+' in form else '-'}{interval.high:{form}}"
