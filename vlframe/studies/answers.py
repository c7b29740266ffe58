"""The answers behind one metric of a run, question by question: of any benchmark, metric and category."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vlframe.errors import ConfigError
from vlframe.evaluation.scores import Estimate, Evaluation
from vlframe.studies.recorded import Answer, Recorded, read_answers


@dataclass(frozen=True)
class MetricKey:
    """A key of metrics.json, taken apart. ``category`` is empty for all questions."""

    benchmark: str
    metric: str
    category: str = ""

    def estimate(self, evaluation: Evaluation | None) -> Estimate:
        """Return the recorded score; NaN where a run has none."""
        scores = evaluation.benchmarks.get(self.benchmark) if evaluation else None
        if scores is None:
            return Estimate()
        tally = scores.categories.get(self.category) if self.category else scores.overall
        return tally.metrics.get(self.metric, Estimate()) if tally else Estimate()


@dataclass(frozen=True)
class Answers:
    """Of one run, by the question's id."""

    run: str
    by_id: Mapping[str, Answer]

    @property
    def graded(self) -> bool:
        """Return whether answers are worth more than right or wrong."""
        return any(item.graded for item in self.by_id.values())


def metric_keys(evaluation: Evaluation) -> dict[str, MetricKey]:
    """Return every score of an evaluation by its key in metrics.json."""
    found = {}
    for name, scores in evaluation.benchmarks.items():
        prefix = evaluation.prefix(name)
        for category, tally in scores.seeing.named():
            for metric in tally.metrics:
                key = f"{prefix}{metric}/{category}" if category else f"{prefix}{metric}"
                found[key] = MetricKey(name, metric, category)
    return found


def answers_of(run: Recorded, key: MetricKey) -> Answers:
    """Read a run's predictions. ConfigError: the file is not as vlframe wrote it."""
    found = read_answers(run.folder, key.benchmark, key.metric, key.category)
    return Answers(str(run.folder.path) if run.folder else "", found)


def shared(several: Sequence[Answers]) -> tuple[list[list[float]], list[frozenset[str]]]:
    """Return the answers' worth (run, question) on the questions that all runs have, and the clip of each.

    ConfigError: one id is two questions.
    """
    first, *others = several
    ids = [name for name, item in first.by_id.items() if item.worth is not None]
    ids = [name for name in ids if all(name in run.by_id and run.by_id[name].worth is not None for run in others)]
    for run in others:
        for name in ids:
            here, there = first.by_id[name].asked, run.by_id[name].asked
            if here != there:
                what = next(pair for pair in zip(here, there, strict=True) if pair[0] != pair[1])
                raise ConfigError(
                    f"question {name!r} is not the same in both ({what[0]!r} and {what[1]!r}): that of {run.run} is "
                    f"not the question of that name in {first.run}; their benchmarks are different ones"
                )
    rows = [[worth for name in ids if (worth := run.by_id[name].worth) is not None] for run in several]
    return rows, [first.by_id[name].clip or frozenset([name]) for name in ids]
