"""What a study found: each cell's scores, its differences to the baseline, and what may be said of them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from vlframe.errors import ConfigError, did_you_mean, some_of
from vlframe.evaluation.aggregates import interquartile_mean, probability_of_improvement
from vlframe.evaluation.controls import Control
from vlframe.evaluation.crossed import Difference, crossed_difference, crossed_share, over_items
from vlframe.evaluation.scores import Estimate
from vlframe.evaluation.statistics import Interval, Paired, mcnemar, over_seeds
from vlframe.evaluation.verdicts import Verdict, verdicts
from vlframe.runs.folder import write_text
from vlframe.studies.answers import Answers, MetricKey, answers_of, metric_keys, shared
from vlframe.studies.controls import controls_of
from vlframe.studies.curves import peak_memory, read_history
from vlframe.studies.ledger import Entry
from vlframe.studies.recorded import Recorded, recorded_runs
from vlframe.studies.resolved import Planned
from vlframe.studies.study import Cell, Study


@dataclass(frozen=True)
class SeedRun:
    """One seed of a cell: how it stands, and where its run is."""

    seed: int
    digest: str
    standing: str
    folder: str | None = None
    why: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Compared:
    """One cell's score by one metric. Unknown values are None. ``difference`` holds over items and seeds where both
    sides have several seeds, ``over_items`` for these weights."""

    metric: str
    score: Interval | None = None
    n: int | None = None  # questions, the same for all seeds
    by_seed: Mapping[int, float] = field(default_factory=dict)
    difference: Difference | None = None
    over_items: Difference | None = None
    discordant: Paired | None = None  # McNemar's test, where both sides have one seed and answers are right or wrong
    verdict: Verdict | None = None
    why: str = ""  # there is no difference


@dataclass(frozen=True)
class CellResult:
    """All that is known of one cell."""

    label: str
    axes: Mapping[str, str]
    runs: tuple[SeedRun, ...]
    compared: Mapping[str, Compared]  # by metric
    tokens: int | None = None  # of a clip
    parameters: int | None = None
    trained: int | None = None
    train_seconds: float | None = None  # mean over seeds
    samples_per_second: float | None = None  # of the evaluation, mean over seeds
    peak_memory: float | None = None  # GiB that training took, the most of all seeds
    unparsed: float | None = None  # share of the answers of the first benchmark
    n: int | None = None  # questions that were asked, of
    asked: int | None = None
    blind: float | None = None
    controls: Mapping[str, Control] = field(default_factory=dict)  # the first benchmark's, with something taken away
    interquartile_mean: Interval | None = None  # over the study's metrics, where there are several
    improvement: Interval | None = None  # the probability that a run scores above one of the baseline

    @property
    def state(self) -> str:
        """Return ``done``, or the state of the first seed that is not."""
        return next((run.standing for run in self.runs if run.standing != "done"), "done")


@dataclass(frozen=True)
class StudyResults:
    """A study as it stands. ``notes`` are sentences that belong beside its numbers."""

    name: str
    baseline: str
    metrics: tuple[str, ...]
    margin: float | None
    cells: tuple[CellResult, ...]
    excluded: Mapping[str, str]  # label -> reason
    notes: tuple[str, ...]

    @property
    def controls(self) -> tuple[str, ...]:
        """Return the controls that any cell was asked under."""
        return tuple(dict.fromkeys(name for cell in self.cells for name in cell.controls))

    def as_data(self) -> dict[str, Any]:
        """Return plain values for JSON; what is unknown is None."""
        return plain_values(asdict(self))


def study_results(study: Study, planned: Sequence[Planned]) -> StudyResults:
    """Read what the study's folder holds. ConfigError: a metric that no run has."""
    notes: list[str] = []
    entries = {cell.label: [(item, item.entry(study)) for item in planned if item.cell is cell] for cell in study.cells}
    runs = {label: _recorded([entry for _, entry in items], notes) for label, items in entries.items()}
    metrics = _metrics(study, [run for several in runs.values() for run in several])
    base = runs[study.baseline.label]
    if not base:
        notes.append(f"the baseline, {study.baseline.label}, has no result yet, so there are no differences")
    tables = {cell.label: {name: _compared(key, name, runs[cell.label], base if cell is not study.baseline else [])
                           for name, key in metrics.items()} for cell in study.cells}  # fmt: skip
    _judge(tables, study.config.margin)
    cells = tuple(_cell(cell, entries[cell.label], runs[cell.label], tables, study) for cell in study.cells)
    notes += [f"{cell.label}, seed {run.seed}: {run.standing}: {run.why}".rstrip(": ")
              for cell in cells for run in cell.runs if run.standing != "done"]  # fmt: skip
    notes += [f"{cell.label}, {item.metric}: no difference to the baseline: {item.why}"
              for cell in cells for item in cell.compared.values() if item.why]  # fmt: skip
    return StudyResults(
        study.name, study.baseline.label, tuple(metrics), study.config.margin, cells,
        {item.label: item.reason for item in study.excluded}, tuple(dict.fromkeys(notes)),
    )  # fmt: skip


def _recorded(entries: Sequence[Entry], notes: list[str]) -> list[Recorded]:
    """Return the runs that are done, in the order of the seeds."""
    found = []
    for entry in entries:
        notes += [f"{entry.label}, seed {entry.seed}: {note}" for note in entry.notes]
        if entry.standing == "done" and entry.run is not None:
            found += [run for run in recorded_runs([entry.run]) if run.scores is not None]
    return found


def _metrics(study: Study, runs: Sequence[Recorded]) -> dict[str, MetricKey]:
    """Return the study's metrics by their keys, or the primary one of the first benchmark."""
    if not runs:
        return {}
    assert runs[0].evaluation is not None
    known = metric_keys(runs[0].evaluation)
    names = study.config.metrics or (runs[0].evaluation.primary_metric,)
    for name in names:
        if name not in known:
            raise ConfigError(
                f"{study.file}: metrics has {name!r}, which the runs do not have; there are {some_of(list(known))}"
                f"{did_you_mean(name, known)}"
            )
    return {name: known[name] for name in names}


def _compared(key: MetricKey, name: str, runs: Sequence[Recorded], base: Sequence[Recorded]) -> Compared:
    if not runs:
        return Compared(name)
    values = {run.seed: key.estimate(run.evaluation) for run in runs if run.seed is not None and run.evaluation}
    by_seed = {seed: item.value for seed, item in values.items()}
    try:
        answers = [answers_of(run, key) for run in runs]
        rows, clips = shared(answers)
    except ConfigError as error:  # a file that is torn, or seeds that were asked different questions
        score, n = _recorded_score(list(values.values()))
        return Compared(name, score, n, by_seed, why=str(error) if base else "")
    graded = any(item.graded for item in answers)
    score = crossed_share(rows, clips) if clips and not graded else _recorded_score(list(values.values()))[0]
    plain = Compared(name, score, len(clips) or min(item.n for item in values.values()), by_seed)
    return _against(plain, answers, base, key) if base else plain


def _recorded_score(values: Sequence[Estimate]) -> tuple[Interval, int]:
    """Return a score that single answers do not give, over seeds or as it was recorded, and for how many."""
    first, *others = values
    score = over_seeds([item.value for item in values]) if others else Interval(first.value, first.low, first.high)
    return score, min(item.n for item in values)


def _against(item: Compared, mine: Sequence[Answers], base: Sequence[Recorded], key: MetricKey) -> Compared:
    try:
        theirs = [answers_of(run, key) for run in base]
        rows, clips = shared([*theirs, *mine])
    except ConfigError as error:
        return Compared(**{**item.__dict__, "why": str(error)})
    if not clips:
        why = "they have no question in common whose answer is worth something by itself"
        return Compared(**{**item.__dict__, "why": why})
    first, second = rows[: len(theirs)], rows[len(theirs) :]
    shares = not any(answers.graded for answers in (*mine, *theirs))
    found = crossed_difference(first, second, clips, shares=shares)
    single = shares and len(first) == len(second) == 1
    pair = mcnemar([value == 1 for value in first[0]], [value == 1 for value in second[0]]) if single else None
    weights = over_items(first, second, clips, shares=shares)
    return Compared(**{**item.__dict__, "difference": found, "over_items": weights, "discordant": pair})


def _judge(tables: Mapping[str, dict[str, Compared]], margin: float | None) -> None:
    """Give every difference of the study its verdict, corrected over all of them."""
    places = [(label, name) for label, table in tables.items() for name, item in table.items() if item.difference]
    differences = [item for label, name in places if (item := tables[label][name].difference)]
    for (label, name), verdict in zip(places, verdicts(differences, margin), strict=True):
        tables[label][name] = Compared(**{**tables[label][name].__dict__, "verdict": verdict})


def _cell(
    cell: Cell, entries: Sequence[tuple[Planned, Entry]], runs: Sequence[Recorded],
    tables: Mapping[str, Mapping[str, Compared]], study: Study,
) -> CellResult:  # fmt: skip
    seeds = tuple(
        SeedRun(planned.seed, planned.digest, entry.standing, str(entry.run) if entry.run else None, entry.why,
                tuple(entry.notes))
        for planned, entry in entries
    )  # fmt: skip
    found = [run.scores for run in runs if run.scores]
    costs = [item.cost for item in found if item.cost]
    blind = [item.blind.overall.primary.value for item in found if item.blind]
    mine, base = tables[cell.label], tables[study.baseline.label]
    several = len(mine) > 1 and bool(runs)
    compared = several and cell is not study.baseline and all(item.by_seed for item in base.values())
    first = found[0].overall if found else None
    return CellResult(
        cell.label, dict(cell.axes), seeds, mine,
        tokens=costs[0].tokens_per_clip if costs else None,
        parameters=sum(costs[0].parameters.values()) if costs else None,
        trained=runs[0].trained if runs else None,
        train_seconds=fmean(item.train_seconds for item in costs) if costs else None,
        samples_per_second=fmean(item.samples_per_second for item in found) if found else None,
        peak_memory=_peak(runs),
        unparsed=first.unparsed / first.n if first and first.n else None,
        n=first.n if first else None,
        asked=first.asked if first else None,
        blind=fmean(blind) if blind else None,
        controls=controls_of(runs),
        interquartile_mean=interquartile_mean(_by_seed(mine)) if several else None,
        improvement=probability_of_improvement(_by_seed(base), _by_seed(mine)) if compared else None,
    )  # fmt: skip


def _peak(runs: Sequence[Recorded]) -> float | None:
    peaks = [peak_memory(read_history(run.folder.metrics_csv)) for run in runs if run.folder]
    return max((peak for peak in peaks if peak is not None), default=None)


def _by_seed(table: Mapping[str, Compared]) -> list[list[float]]:
    return [list(item.by_seed.values()) for item in table.values()]


def plain_values(value: Any) -> Any:
    """Convert values for JSON: keys become texts, NaN becomes None."""
    if isinstance(value, Mapping):
        return {str(key): plain_values(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_values(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def write_results(results: StudyResults, file: Path) -> None:
    """Write all of it as JSON."""
    write_text(file, json.dumps(results.as_data(), indent=1, ensure_ascii=False) + "\n")
