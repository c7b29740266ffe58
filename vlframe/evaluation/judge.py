"""Parses and scores texts through the benchmark, and checks what it returns.

Runs and ``vlframe.testing`` both judge through this, so that they accept the same benchmarks.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from vlframe.contracts.benchmark import Metric, Value
from vlframe.errors import PluginError

if TYPE_CHECKING:
    from vlframe.contracts.sample import Sample

ACCURACY = Metric("accuracy", bool)
NAME = re.compile(r"[a-z][a-z0-9_]*")
# Other keys of metrics.json and columns of tables, and the suffixes and prefix of metric names there.
TAKEN = (
    "n", "n_asked", "unparsed", "chance", "answered", "samples_per_second", "quarantined", "tokens_per_clip",
    "parameters", "train_seconds",
    "id", "category", "media", "video", "image", "audio", "question", "answers", "text", "parsed",
)  # fmt: skip
BEHIND, BEFORE = ("_low", "_high", "_n", "_answered"), ("blind_", "control_")
GRADED = "metrics=(vlframe.Metric('f1'),) and judge(answer, sample) -> {'f1': 0.67}"


@dataclass(frozen=True)
class Judgement:
    """A parsed text (None if it cannot be parsed), and its value by each metric."""

    parsed: str | None
    values: Mapping[str, Value]


class Judge:
    """Judges texts for one benchmark. PluginError names the benchmark and the question that break the contract.

    ``metrics`` are the benchmark's, the primary one first.
    """

    def __init__(self, label: str, benchmark: Any) -> None:
        self.label = label
        self.benchmark = benchmark
        self.metrics = self._metrics()
        self._lengths: dict[str, int] = {}  # numbers per answer, of metrics that are functions of sums

    @property
    def primary(self) -> Metric:
        return self.metrics[0]

    def __call__(self, text: str, sample: Sample) -> Judgement:
        parsed = self.benchmark.parse(text, sample)
        if parsed is not None and not isinstance(parsed, str):
            self._refuse(
                f"parse({text[:40]!r}) of question {sample.id!r} is {parsed!r}; it must be a string, or None for no "
                f"answer"
            )
        return Judgement(parsed, self._unread(sample) if parsed is None else self._values(parsed, sample))

    def _metrics(self) -> tuple[Metric, ...]:
        simple, graded = hasattr(self.benchmark, "correct"), hasattr(self.benchmark, "judge")
        if simple == graded:
            found = "both correct and judge" if simple else "neither correct nor judge"
            self._refuse(
                f"it has {found}; give it correct(answer, sample) -> bool, or, for graded scores, {GRADED} (docs/"
                f"plugins.md)"
            )
        if simple:
            return (ACCURACY,)
        metrics = getattr(self.benchmark, "metrics", None)
        if not isinstance(metrics, Sequence) or not metrics or not all(isinstance(item, Metric) for item in metrics):
            self._refuse(f"its metrics are {metrics!r}; they must be some vlframe.Metric, the primary one first")
        for metric in metrics:
            self._check_metric(metric, [item.name for item in metrics])
        return tuple(metrics)

    def _check_metric(self, metric: Metric, names: Sequence[str]) -> None:
        name = metric.name
        taken = name in TAKEN or name.endswith(BEHIND) or name.startswith(BEFORE)
        if not NAME.fullmatch(name) or taken:
            self._refuse(
                f"a metric cannot be called {name!r}; a name has small letters, digits and _, and is none of "
                f"{', '.join(TAKEN)}, nor {'… nor '.join(BEFORE)}… nor …{', …'.join(BEHIND)}"
            )
        if names.count(name) > 1:
            self._refuse(f"two of its metrics are called {name!r}; rename one")
        if metric.problem:
            self._refuse(f"metric {name!r}: {metric.problem}")

    def _values(self, answer: str, sample: Sample) -> dict[str, Value]:
        if not hasattr(self.benchmark, "judge"):
            verdict = self.benchmark.correct(answer, sample)
            if not isinstance(verdict, bool):
                self._refuse(
                    f"correct({answer[:40]!r}) of question {sample.id!r} is {verdict!r}; it must be True or False, and "
                    f"a benchmark of graded scores has {GRADED} in its place"
                )
            return {ACCURACY.name: verdict}
        values = self.benchmark.judge(answer, sample)
        where = f"judge({answer[:40]!r}) of question {sample.id!r}"
        names = [metric.name for metric in self.metrics]
        if not isinstance(values, Mapping):
            self._refuse(f"{where} is {values!r}; it must be a mapping with {', '.join(names)}")
        lacking, strange = set(names) - set(values), set(values) - set(names)
        if lacking or strange:
            what = (
                f"has no {sorted(lacking)[0]!r}" if lacking else f"has {min(map(str, strange))!r}, which is no metric"
            )
            self._refuse(f"{where} {what}; it must have {', '.join(names)}, and None where one does not apply")
        return {metric.name: self._value(metric, values[metric.name], where) for metric in self.metrics}

    def _value(self, metric: Metric, value: Any, where: str) -> Value:
        if value is None:
            return None
        if metric.of_sums is not None:
            return self._numbers(metric, value, where)
        if metric.value is bool:
            if not isinstance(value, bool):
                self._refuse(f"{where} has {metric.name}={value!r}; this metric is a share: True, False or None")
            return value
        if not _is_number(value):
            self._refuse(f"{where} has {metric.name}={value!r}; it must be a number, or None where it does not apply")
        if not metric.low <= value <= metric.high:  # NaN is outside any bounds
            self._refuse(f"{where} has {metric.name}={value!r}; the metric goes from {metric.low:g} to {metric.high:g}")
        return float(value)

    def _numbers(self, metric: Metric, value: Any, where: str) -> tuple[float, ...]:
        good = isinstance(value, list | tuple) and bool(value) and all(map(_is_number, value))
        if not good or not all(map(math.isfinite, value)):
            self._refuse(f"{where} has {metric.name}={value!r}; it must be a tuple of numbers, which are summed")
        length = self._lengths.setdefault(metric.name, len(value))
        if len(value) != length:
            self._refuse(f"{where} has {len(value)} numbers for {metric.name}, and other answers have {length}")
        return tuple(map(float, value))

    def _unread(self, sample: Sample) -> dict[str, Value]:
        """Return the worst values, for a text that cannot be parsed."""
        sums = [metric for metric in self.metrics if metric.of_sums is not None]
        empty = self._values("", sample) if sums else {}
        return {metric.name: empty[metric.name] if metric in sums else _worst(metric) for metric in self.metrics}

    def _refuse(self, what: str) -> NoReturn:
        raise PluginError(f"{self.label}: {what}")


def _worst(metric: Metric) -> bool | float:
    return metric.less_is_better if metric.value is bool else metric.worst


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
