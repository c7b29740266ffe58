"""What a benchmark says of an answer is taken as it is meant, or refused by name; the same in a run and in the kit."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from vlframe import Metric, Sample, Turn
from vlframe.errors import PluginError
from vlframe.evaluation.judge import Judge
from vlframe.testing import ContractError, check_benchmark

RED = Sample("q1", (Turn("user", "Which colour?"),), answer="red", other_answers=("crimson",))


class Simple:
    max_new_tokens = 4

    def __init__(self, *, dataset: Sequence[Sample] = (RED,), says: Any = None) -> None:
        self.samples = list(dataset)
        self.says = says

    def parse(self, text: str, sample: Sample) -> str | None:
        word = text.strip().removesuffix(".").casefold()
        return word if word.isalpha() else None

    def correct(self, answer: str, sample: Sample) -> bool:
        return answer in sample.answers if self.says is None else self.says


class Graded:
    """Length of the common beginning, over the longest."""

    max_new_tokens = 4

    def __init__(
        self, *, dataset: Sequence[Sample] = (RED,), metrics: Any = None, says: Any = None, more: Mapping[str, Any] = {}
    ) -> None:
        self.samples = list(dataset)
        self.metrics = (Metric("near"), Metric("exact", bool)) if metrics is None else metrics
        self.says = says
        self.more = more

    parse = Simple.parse

    def judge(self, answer: str, sample: Sample) -> Any:
        near = max(_near(answer, reference) for reference in sample.answers)
        return {"near": near, "exact": near == 1.0, **self.more} if self.says is None else self.says


def _near(answer: str, reference: str) -> float:
    same = next((at for at, (a, b) in enumerate(zip(answer, reference, strict=False)) if a != b), None)
    shorter, longer = sorted((len(answer), len(reference)))
    return (shorter if same is None else same) / longer


def judged(benchmark: Any, text: str = "red") -> Mapping[str, Any]:
    return Judge("benchmark 'quiz'", benchmark)(text, RED).values


def test_answers_are_right_or_wrong() -> None:
    assert judged(Simple()) == judged(Simple(), "crimson") == {"accuracy": True}
    assert judged(Simple(), "blue") == judged(Simple(), "?!") == {"accuracy": False}


def test_answers_are_graded_and_a_text_that_is_none_is_the_worst() -> None:
    assert judged(Graded()) == {"near": 1.0, "exact": True}
    assert judged(Graded(), "reddish") == {"near": 3 / 7, "exact": False}
    assert judged(Graded(), "?!") == {"near": 0.0, "exact": False}
    errors = (Metric("near", low=0.0, high=4.0, less_is_better=True), Metric("exact", bool, less_is_better=True))
    assert judged(Graded(metrics=errors), "?!") == {"near": 4.0, "exact": True}
    assert judged(Graded(more={"near": None})) == {"near": None, "exact": True}
    assert judged(Graded(more={"near": 1})) == {"near": 1.0, "exact": True}


def test_what_is_summed_is_judged_as_an_empty_answer() -> None:
    summed = (Metric("near", of_sums=lambda sums: sums[0] / sums[1]), Metric("exact", bool))
    judge = Judge("benchmark 'quiz'", Graded(metrics=summed, more={"near": [1, 2]}))
    assert judge("red", RED).values == judge("?!", RED).values | {"exact": True} == {"near": (1.0, 2.0), "exact": True}
    judge.benchmark.more = {"near": (1, 2, 3)}
    with pytest.raises(PluginError, match="has 3 numbers for near, and other answers have 2"):
        judge("red", RED)


FLOAT = r"correct\('red'\) of question 'q1' is 0\.67; it must be True or False, .* judge\(answer, sample\)"
REFUSED = [
    (Simple, {"says": 0.67}, FLOAT),
    (Simple, {"says": np.True_}, "is np.True_; it must be True or False"),
    (Graded, {"says": 0.67}, r"judge\('red'\) of question 'q1' is 0\.67; it must be a mapping with near, exact"),
    (Graded, {"says": {"near": 1.0}}, "has no 'exact'; it must have near, exact, and None"),
    (Graded, {"more": {"far": 1.0}}, "has 'far', which is no metric"),
    (Graded, {"more": {"near": math.nan}}, "has near=nan; the metric goes from 0 to 1"),
    (Graded, {"more": {"near": 1.5}}, "has near=1.5; the metric goes from 0 to 1"),
    (Graded, {"more": {"near": True}}, "has near=True; it must be a number"),
    (Graded, {"more": {"near": "1"}}, "has near='1'; it must be a number"),
    (Graded, {"more": {"exact": 1}}, "has exact=1; this metric is a share: True, False or None"),
    (Graded, {"metrics": []}, r"its metrics are \[\]; they must be some vlframe.Metric"),
    (Graded, {"metrics": ["near"]}, r"its metrics are \['near'\]"),
    (Graded, {"metrics": [Metric("n")]}, "a metric cannot be called 'n'"),
    (Graded, {"metrics": [Metric("near_low")]}, "a metric cannot be called 'near_low'"),
    (Graded, {"metrics": [Metric("BLEU-4")]}, "a metric cannot be called 'BLEU-4'"),
    (Graded, {"metrics": [Metric("near"), Metric("near")]}, "two of its metrics are called 'near'"),
    (Graded, {"metrics": [Metric("near", int)]}, "its value is <class 'int'>; it can be bool or float"),
    (Graded, {"metrics": [Metric("near", high=0.0)]}, "low must be below high"),
    (Graded, {"metrics": [Metric("near", high=math.inf, less_is_better=True)]}, "its worst value, high=inf"),
]  # fmt: skip


@pytest.mark.parametrize(("benchmark", "parameters", "message"), REFUSED)
def test_what_is_no_score_is_refused_in_a_run_and_in_the_kit(benchmark: type, parameters: Any, message: str) -> None:
    with pytest.raises(PluginError, match=f"^benchmark 'quiz': .*{message}"):
        judged(benchmark(**parameters))
    with pytest.raises(ContractError, match=f"^benchmark '{benchmark.__name__}': .*{message}"):
        check_benchmark(benchmark, parameters, dataset=[RED])


def test_a_benchmark_says_what_an_answer_is_worth_in_one_way() -> None:
    class Both(Graded):
        correct = Simple.correct

    class Neither:
        samples, max_new_tokens, parse = (RED,), 4, Simple.parse

    for benchmark, found in ((Both, "both correct and judge"), (Neither, "neither correct nor judge")):
        with pytest.raises(PluginError, match=f"it has {found}; give it"):
            Judge("benchmark 'quiz'", benchmark())


def test_the_kit_takes_what_is_sound() -> None:
    check_benchmark(Simple, dataset=[RED])
    check_benchmark(Graded, dataset=[RED])


def test_the_kit_holds_right_answers_against_nonsense() -> None:
    class Generous(Graded):
        def parse(self, text: str, sample: Sample) -> str:
            return text

        def judge(self, answer: str, sample: Sample) -> Any:
            return {"near": 0.5, "exact": False}

    class Choosy(Simple):
        def candidates(self, sample: Sample) -> Sequence[str]:
            return ("red", "42")

    with pytest.raises(ContractError, match=r"counts .*'qzxv wqpl'.* as a right answer"):
        check_benchmark(Generous, dataset=[RED])
    with pytest.raises(ContractError, match="does not read its own candidate '42' of question 0"):
        check_benchmark(Choosy, dataset=[RED])

    class OfOne(Simple):
        def correct(self, answer: str, sample: Sample) -> bool:
            return answer == sample.answer

    with pytest.raises(ContractError, match="does not take the right answer of question 0, 'crimson', as right"):
        check_benchmark(OfOne, dataset=[RED])
