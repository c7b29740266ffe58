"""Statistics against published and closed-form values, and the tables they are shown in."""

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlframe.evaluation.statistics import (
    Interval,
    Paired,
    bootstrap,
    bootstrap_mean,
    chance,
    mcnemar,
    over_seeds,
    wilson,
)
from vlframe.table import markdown, render


def near(value: float, tolerance: float = 1e-4) -> object:
    return pytest.approx(value, abs=tolerance)


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    [  # Newcombe 1998, Statistics in Medicine 17, table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_published(right: int, n: int, low: float, high: float) -> None:
    assert wilson(right, n) == Interval(right / n, near(low), near(high))


def test_wilson_without_questions() -> None:
    empty = wilson(0, 0)
    assert math.isnan(empty.value)
    assert (empty.low, empty.high) == (0.0, 1.0)


@settings(max_examples=100, deadline=None)
@given(n=st.integers(1, 5000), share=st.floats(0, 1), confidence=st.floats(0.5, 0.999))
def test_wilson_solves_its_equation(n: int, share: float, confidence: float) -> None:
    right = round(share * n)
    interval = wilson(right, n, confidence)
    mirrored = wilson(n - right, n, confidence)
    assert 0 <= interval.low <= interval.value <= interval.high <= 1
    assert mirrored.low == near(1 - interval.high, 1e-12)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    for border in (interval.low, interval.high):
        assert abs(interval.value - border) == near(z * math.sqrt(border * (1 - border) / n), 1e-7)


def test_the_bootstrap_of_a_mean_is_that_of_the_normal_law_for_many_values() -> None:
    values = np.random.default_rng(3).uniform(size=4000)
    interval = bootstrap_mean(values.tolist())
    margin = 1.959964 * values.std() / math.sqrt(len(values))
    assert interval.value == near(values.mean(), 1e-12)
    assert (interval.low, interval.high) == (near(values.mean() - margin, 4e-4), near(values.mean() + margin, 4e-4))
    assert interval == bootstrap_mean(values.tolist()) != bootstrap_mean(values.tolist(), seed=1)


def test_the_bootstrap_covers_the_mean_as_often_as_it_says() -> None:
    """Of 60 samples of 40, about 57 intervals hold the true mean; drawn alone instead of in their groups of
    five like values, far fewer."""
    draws = np.random.default_rng(5)
    held = {"alone": 0, "together": 0}
    for _ in range(60):
        values = np.repeat(draws.uniform(size=40), 5).tolist()
        groups = {"alone": range(200), "together": [at // 5 for at in range(200)]}
        for name, drawn in groups.items():
            interval = bootstrap_mean(values, drawn)
            held[name] += interval.low <= 0.5 <= interval.high
    assert held["together"] >= 52 and held["alone"] < 46


def test_where_nothing_differs_the_interval_is_as_wide_as_the_range_allows() -> None:
    share = wilson(3, 3)
    assert bootstrap_mean([5.0] * 3, bounds=(1, 5)) == Interval(5.0, near(1 + 4 * share.low), 5.0)
    one = bootstrap_mean([0.2, 0.4], ["clip", "clip"], bounds=(0, 1))
    assert one.value == near(0.3) and one.low == near(wilson(0.3, 1).low) and one.high == near(wilson(0.3, 1).high)
    assert math.isnan(bootstrap_mean([5.0] * 3).low) and math.isnan(bootstrap_mean([]).value)
    with pytest.raises(ValueError, match="2 questions are in as many groups, not 1"):
        bootstrap_mean([0.1, 0.2], ["clip"])


def test_the_bootstrap_of_a_ratio_of_sums() -> None:
    rows = [(1.0, 2.0), (3.0, 4.0), (0.0, 6.0)]
    interval = bootstrap(rows, lambda sums: sums[0] / sums[1], "abc")
    assert interval.value == near(4 / 12, 1e-12) and 0.0 <= interval.low < 1 / 3 < interval.high <= 0.75


def test_chance() -> None:
    assert chance([4, 2, 4]) == near(1 / 3, 1e-12)
    assert math.isnan(chance([4, 0]))
    assert math.isnan(chance([]))


def test_mcnemar() -> None:
    first = [True] * 9 + [False] * 1 + [True] * 50 + [False] * 40
    second = [False] * 9 + [True] * 1 + [True] * 50 + [False] * 40
    assert mcnemar(first, second) == Paired(9, 1, 22 / 1024)  # 2 (C(10,0) + C(10,1)) / 2^10
    assert mcnemar(second, first) == Paired(1, 9, 22 / 1024)
    assert mcnemar([True, False], [False, True]).p == 1.0
    assert mcnemar([True], [True]) == Paired(0, 0, 1.0)
    assert mcnemar([True] * 4000, [False] * 4000).p == 0.0
    with pytest.raises(ValueError, match="there are 1 and 2"):
        mcnemar([True], [True, False])


@settings(max_examples=50, deadline=None)
@given(one=st.integers(0, 40), other=st.integers(0, 40))
def test_mcnemar_is_the_binomial_test(one: int, other: int) -> None:
    found = mcnemar([True] * one + [False] * other, [False] * one + [True] * other)
    ways = [math.comb(one + other, k) for k in range(one + other + 1)]
    extreme = sum(way for k, way in enumerate(ways) if abs(2 * k - one - other) >= abs(one - other))
    assert found == Paired(one, other, near(extreme / sum(ways), 1e-12))


def test_over_seeds() -> None:
    assert over_seeds([0.9, 0.92, 0.94]) == Interval(near(0.92), near(0.92 - 0.04968), near(0.92 + 0.04968))
    assert over_seeds([0.5, 0.5]) == Interval(0.5, 0.5, 0.5)
    single = over_seeds([0.7])
    assert single.value == 0.7
    assert math.isnan(single.low) and math.isnan(single.high)
    with pytest.raises(ValueError, match="at least one"):
        over_seeds([])
    with pytest.raises(ValueError, match="confidence"):
        over_seeds([1, 2], confidence=95)


ROWS = [
    {"part": "stc|v35", "accuracy": 0.98765, "n": 1200},
    {"part": "mlp", "accuracy": None, "n": 9, "note": "one\nseed"},
    {"part": "pool", "accuracy": math.nan, "n": 10},
]


def test_render() -> None:
    assert render(ROWS).split("\n") == [
        "part     accuracy     n  note",
        "-------  --------  ----  --------",
        "stc|v35    0.9877  1200  –",
        "mlp             –     9  one seed",
        "pool            –    10  –",
    ]


def test_markdown() -> None:
    assert markdown(ROWS, ["n", "part"]).split("\n") == [
        "|    n | part     |",
        "| ---: | -------- |",
        "| 1200 | stc\\|v35 |",
        "|    9 | mlp      |",
        "|   10 | pool     |",
    ]


def test_tables_without_rows() -> None:
    assert render([], ["a", "long name"]).split("\n") == ["  a  long name", "---  ---------"]
    assert markdown([], ["a"]).split("\n") == ["|   a |", "| --: |"]
