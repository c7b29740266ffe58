"""Scores: the same after a way through JSON; flat keys in one place; judged answers to metrics with their intervals."""

import json
import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlframe import Metric, Sample, Turn
from vlframe.evaluation.evaluate import Outcome, Prediction
from vlframe.evaluation.run import score_table
from vlframe.evaluation.scores import Cost, Estimate, Evaluation, Scores, Tallies, Tally
from vlframe.evaluation.statistics import bootstrap_mean, wilson
from vlframe.evaluation.tally import scores_of

numbers = st.just(math.nan) | st.floats(-1e6, 1e6)
estimates = st.builds(Estimate, numbers, numbers, numbers, st.integers(0, 9), numbers)
metrics = st.dictionaries(st.from_regex(r"[a-z][a-z_]{0,7}", fullmatch=True), estimates, min_size=1, max_size=3)


@st.composite
def tallies(draw: st.DrawFn) -> Tally:
    asked = draw(st.integers(0, 50))
    n = draw(st.integers(0, asked))
    return Tally(asked, n, draw(st.integers(0, n)), draw(metrics), draw(st.sampled_from([math.nan, 0.25, 0.5])))


names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
passes = st.builds(Tallies, tallies(), st.dictionaries(names, tallies(), max_size=3))
costs = st.none() | st.builds(Cost, st.integers(0, 9), st.dictionaries(names, st.integers(0, 99)), st.floats(0, 1e6))
scores = st.builds(
    Scores,
    passes,
    st.just(0.0) | st.floats(1e-6, 1e4),
    st.none() | passes,
    st.dictionaries(names, st.integers(0, 9)),
    costs,
)


@given(st.dictionaries(names, scores, min_size=1, max_size=3), st.booleans())
def test_scores_come_back_from_json_and_flatten_to_finite_numbers(
    several: dict[str, Scores], one_is_main: bool
) -> None:
    item = Evaluation(several, next(iter(several)) if one_is_main else None)
    again = Evaluation.from_tree(json.loads(json.dumps(item.tree(), allow_nan=False)))
    assert again.tree() == item.tree() and again.flat() == item.flat() and again.primary_metric == item.primary_metric
    assert repr(again) == repr(item)  # NaN is not equal to itself
    assert all(math.isfinite(value) for value in item.flat().values())
    json.dumps(item.flat(), allow_nan=False)
    for one in several.values():
        score_table(one)


def prediction(number: int, category: str, text: str | None, **values: object) -> Prediction:
    sample = Sample(f"q{number}", (Turn("user", "what?"),), answer="red", options=("red",) * 4, category=category)
    return Prediction(sample, text or "", text, values, group=f"g{number}")  # type: ignore[arg-type]


def outcome(predictions: list[Prediction], *metrics: Metric, quarantined: dict[str, int] | None = None) -> Outcome:
    asked = Counter(item.sample.category for item in predictions) + Counter(quarantined or {})
    return Outcome(predictions, asked, 10.0, metrics)


ACCURACY = Metric("accuracy", bool)


def answers(category: str, n: int, right: int, unparsed: int) -> list[Prediction]:
    texts = [None if at < unparsed else "red" for at in range(n)]
    return [prediction(at, category, text, accuracy=unparsed <= at < unparsed + right) for at, text in enumerate(texts)]


def test_the_blind_figures_say_what_was_answered() -> None:
    """Five of a hundred right looks worse than chance; of the twenty that were answers at all it is chance."""
    blind = outcome(answers("colour", 40, 5, 20) + answers("shape", 60, 0, 60), ACCURACY)
    seeing = outcome(answers("colour", 40, 33, 0) + answers("shape", 60, 57, 0), ACCURACY)
    item = scores_of(seeing, blind, {})
    flat = item.flat()
    assert (flat["blind_accuracy"], flat["blind_answered"], flat["blind_accuracy_answered"]) == (0.05, 0.2, 0.25)
    assert (flat["blind_n"], flat["blind_unparsed"], flat["samples_per_second"]) == (100, 80, 10.0)
    assert flat["blind_answered/shape"] == 0 and "blind_accuracy_answered/shape" not in flat
    header, _, _, shape, whole = score_table(item).splitlines()
    assert "blind answered" in header and whole.split()[-3:] == ["0.2", "0.25", "0.05"]
    assert shape.split()[-3:] == ["0", "–", "0"]


def test_each_category_has_its_own_interval() -> None:
    predictions = answers("colour", 10, 10, 0) + answers("shape", 38, 19, 2)
    item = scores_of(outcome(predictions, ACCURACY, quarantined={"shape": 2, "gone": 3}), None, {})
    flat = item.flat()
    for name, right, n in (("colour", 10, 10), ("shape", 19, 38)):
        interval = wilson(right, n)
        assert flat[f"accuracy_low/{name}"] == pytest.approx(interval.low)
        assert flat[f"accuracy_high/{name}"] == pytest.approx(interval.high)
        assert f"{interval.low:.3f}-{interval.high:.3f}" in score_table(item)
    assert not [key for key in flat if key.startswith("accuracy") and key.endswith("/gone")]
    assert "0/3" in score_table(item) and "38/40" in score_table(item) and (flat["n"], flat["n_asked"]) == (48, 53)


def test_each_metric_has_the_interval_of_its_kind_and_speaks_for_the_answers_it_applies_to() -> None:
    graded = [
        prediction(at, "ab"[at % 2], "red", f1=at / 8, exact=at > 5, near=at if at < 3 else None) for at in range(8)
    ]
    measured = (Metric("f1"), Metric("exact", bool), Metric("near", high=9.0))
    item = scores_of(outcome(graded, *measured), None, {})
    flat = item.flat()
    mean, share = bootstrap_mean([at / 8 for at in range(8)], bounds=(0, 1)), wilson(2, 8)
    assert (flat["f1"], flat["f1_low"], flat["f1_high"]) == (mean.value, mean.low, mean.high)
    assert 0 < mean.low < mean.value < mean.high < 1
    assert (flat["exact"], flat["exact_low"], flat["exact_high"]) == (share.value, share.low, share.high)
    assert (flat["near"], flat["near_n"], flat["near_n/a"]) == (1.0, 3, 2) and "f1_n" not in flat
    of_a = bootstrap_mean([at / 8 for at in range(0, 8, 2)], bounds=(0, 1))
    assert (flat["f1_low/a"], flat["f1_high/a"]) == (of_a.low, of_a.high)
    assert next(iter(item.overall.metrics)) == "f1" and "chance" in flat
    header = score_table(item).splitlines()[0].split("  ")
    assert [word.strip() for word in header if word.strip()][:5] == ["category", "f1", "95 %", "exact", "exact 95 %"]


def test_a_score_of_sums_is_that_of_all_answers_together() -> None:
    """Right words over words said: 1/1 and 0/3 make 1/4, and not the mean of 1 and 0."""
    precision = Metric("precision", of_sums=lambda sums: sums[0] / sums[1] if sums[1] else 0.0)
    said = [prediction(0, "", "a", precision=(1.0, 1.0)), prediction(1, "", "b c d", precision=(0.0, 3.0))]
    item = scores_of(outcome(said, precision), None, {})
    estimate = item.overall.metrics["precision"]
    assert (estimate.value, estimate.n) == (0.25, 2) and (estimate.low, estimate.high) == (0.0, 1.0)


def test_questions_about_one_file_are_drawn_together() -> None:
    """Twelve questions about three clips: all right about one, none about the others. Drawn one by one the interval is
    far too narrow."""
    values = [float(at < 4) for at in range(12)]
    alone = bootstrap_mean(values, bounds=(0, 1))
    together = bootstrap_mean(values, [at // 4 for at in range(12)], bounds=(0, 1))
    assert together.value == alone.value == pytest.approx(1 / 3)
    assert together.high - together.low > 1.5 * (alone.high - alone.low)


def test_keys_of_several_benchmarks_do_not_meet() -> None:
    one = scores_of(outcome(answers("colour", 4, 3, 0), ACCURACY), None, {"media": 1}, Cost(7, {"llm": 9}, 1.0))
    item = Evaluation({"quiz": one, "exam": one}, "quiz")
    flat = item.flat()
    assert flat["accuracy/colour"] == flat["exam/accuracy/colour"] == 0.75 and flat["exam/quarantined/media"] == 1
    assert (item.primary_metric, Evaluation({"exam": one}).primary_metric) == ("accuracy", "exam/accuracy")
    assert len(flat) == 2 * len(one.flat())
