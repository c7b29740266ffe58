"""Benchmarks: their questions, how answers are read, and how they are scored."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from vlframe.contracts.sample import Sample

Value = bool | float | tuple[float, ...] | None  # one metric's value for one answer; None: not applicable


@dataclass(frozen=True)
class Metric:
    """A metric of a benchmark: a value for each answer, and how those of many answers are combined.

    ``value`` is ``bool`` (right or wrong: the score is a share, with Wilson's interval) or ``float`` (graded from
    ``low`` to ``high``: the score is a mean, with a bootstrap interval). With ``of_sums`` each answer gives a fixed
    number of values, and the score is that function of their sums over all answers (a corpus score; bootstrap).

    A text that cannot be parsed counts as the worst value: ``low``, or ``high`` where ``less_is_better``. With
    ``of_sums`` it is judged as an empty answer.
    """

    name: str  # small letters, digits and _: a key of metrics.json
    value: type = float
    low: float = 0.0
    high: float = 1.0
    less_is_better: bool = False
    of_sums: Callable[[Sequence[float]], float] | None = None

    @property
    def worst(self) -> float:
        return self.high if self.less_is_better else self.low

    @property
    def problem(self) -> str:
        """Return what is wrong with the metric; "" = nothing."""
        if self.value not in (bool, float):
            return f"its value is {self.value!r}; it can be bool or float"
        if not self.low < self.high or math.isnan(self.low) or math.isnan(self.high):
            return f"it goes from low={self.low:g} to high={self.high:g}; low must be below high"
        if not math.isfinite(self.worst) and self.of_sums is None:
            word = "high" if self.less_is_better else "low"
            return f"its worst value, {word}={self.worst:g}, is what a text that is no answer counts as; give a number"
        return ""


class Benchmark(Protocol):
    """Asks questions and parses the answers; the evaluator does the rest.

    Answers are scored by one of two: ``RightOrWrong.correct``, or ``Graded.metrics`` and ``.judge``. An optional
    ``candidates(sample) -> Sequence[str]`` gives the answers that ``choice=likelihood`` chooses from, if they are not
    ``sample.options``. An optional ``rotated(sample) -> Sample | None`` gives the same question with its options in
    other places, each moved by one; None: the question names no places, or names them itself.
    """

    samples: Sequence[Sample]
    max_new_tokens: int

    def parse(self, text: str, sample: Sample) -> str | None: ...  # None: not an answer; counted as the worst value


class RightOrWrong(Benchmark, Protocol):
    """Scores answers as right or wrong; its one metric is ``accuracy``, the share of right answers."""

    def correct(self, answer: str, sample: Sample) -> bool: ...


class Graded(Benchmark, Protocol):
    """Scores each answer by several metrics; the first is the primary one."""

    metrics: Sequence[Metric]

    def judge(self, answer: str, sample: Sample) -> Mapping[str, Value]: ...  # a value for every metric, by name
