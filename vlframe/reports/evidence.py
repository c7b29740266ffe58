"""The evidence for the scores of a study's cells: their runs, scores by category, learning curves, changed keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from vlframe.evaluation.scores import Evaluation
from vlframe.studies.answers import metric_keys
from vlframe.studies.curves import LOSS, Curve, curve, read_history
from vlframe.studies.digest import changes
from vlframe.studies.recorded import Recorded, recorded_runs
from vlframe.studies.resolved import Planned
from vlframe.studies.results import StudyResults


@dataclass(frozen=True)
class SeedCurves:
    """One seed's curves by what they show: the loss, and scores where a run was evaluated more than once."""

    cell: str
    seed: int
    curves: Mapping[str, Curve]


@dataclass(frozen=True)
class Evidence:
    """By cells' labels, in the study's order. ``categories`` has rows of scores, the mean over seeds; None: unknown."""

    runs: Mapping[str, Sequence[Recorded]]  # that are done, in the order of the seeds
    categories: Mapping[str, Mapping[str, float | None]]  # category -> cell -> score
    curves: Sequence[SeedCurves]
    changed: Mapping[str, Sequence[str]]  # the config's differences to the baseline's


def read_evidence(results: StudyResults, planned: Sequence[Planned]) -> Evidence:
    """Read the folders of the runs that the results are of."""
    runs: dict[str, list[Recorded]] = {
        cell.label: [found for run in cell.runs if run.standing == "done" and run.folder
                     for found in recorded_runs([run.folder]) if found.scores is not None]
        for cell in results.cells
    }  # fmt: skip
    return Evidence(runs, _categories(runs), _curves(results), _changed(results, planned))


def _categories(runs: Mapping[str, Sequence[Recorded]]) -> dict[str, dict[str, float | None]]:
    evaluations = {label: [run.evaluation for run in several if run.evaluation] for label, several in runs.items()}
    names = dict.fromkeys(key for several in evaluations.values() for one in several for key in _by_category(one))
    found = {}
    for name in names:
        scores = {label: [value for one in several if (value := _by_category(one).get(name)) is not None]
                  for label, several in evaluations.items()}  # fmt: skip
        found[name] = {label: fmean(values) if values else None for label, values in scores.items()}
    return found


def _by_category(evaluation: Evaluation) -> dict[str, float]:
    """Return the primary score of every category; that of further benchmarks under their names."""
    found = {}
    for key in metric_keys(evaluation).values():
        primary = next(iter(evaluation.benchmarks[key.benchmark].overall.metrics))
        value = key.estimate(evaluation).value
        if key.category and key.metric == primary and value == value:
            found[f"{evaluation.prefix(key.benchmark)}{key.category}"] = value
    return found


def _curves(results: StudyResults) -> list[SeedCurves]:
    """Return the curves of every seed that logged something, including those that failed."""
    found = []
    for cell in results.cells:
        for run in cell.runs:
            for one in recorded_runs([run.folder]) if run.folder else ():
                rows = read_history(one.folder.metrics_csv) if one.folder else []
                known = {LOSS: curve(rows, LOSS), **{f"eval/{name}": curve(rows, f"eval/{name}")
                                                     for name in results.metrics}}  # fmt: skip
                kept = {name: points for name, points in known.items() if len(points) > (name != LOSS)}
                if kept:
                    found.append(SeedCurves(cell.label, run.seed, kept))
    return found


def _changed(results: StudyResults, planned: Sequence[Planned]) -> dict[str, list[str]]:
    first = {item.cell.label: item for item in reversed(planned)}
    base = first[results.baseline].identity
    said = {}
    for cell in results.cells:
        mine = first[cell.label].identity
        if cell.label == results.baseline:
            continue
        said[cell.label] = [str(item) for item in changes(base, mine)] if base and mine else [
            *first[cell.label].cell.words]  # fmt: skip
    return said
