"""Statistics against published and closed-form values, and the tables they are shown in."""

import math
from statistics import NormalDist

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlframe.evaluation.statistics import Interval, Paired, chance, mcnemar, over_seeds, t_quantile, wilson
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


@pytest.mark.parametrize(
    ("probability", "freedom", "expected"),
    [  # the usual tables of Student's t
        (0.975, 1, 12.7062),
        (0.975, 2, 4.30265),
        (0.975, 3, 3.18245),
        (0.975, 4, 2.77645),
        (0.975, 9, 2.26216),
        (0.975, 30, 2.04227),
        (0.995, 2, 9.92484),
        (0.995, 5, 4.03214),
        (0.9, 1, 3.07768),
        (0.95, 10, 1.81246),
        (0.5, 7, 0.0),
        (0.025, 3, -3.18245),
    ],
)
def test_t_quantile(probability: float, freedom: int, expected: float) -> None:
    assert t_quantile(probability, freedom) == near(expected, 6e-5)


@settings(max_examples=50, deadline=None)
@given(st.floats(0.51, 0.999))
def test_t_quantile_closed_forms(probability: float) -> None:
    assert t_quantile(probability, 1) == pytest.approx(math.tan(math.pi * (probability - 0.5)), rel=1e-9)
    signed = 2 * probability - 1
    assert t_quantile(probability, 2) == pytest.approx(signed * math.sqrt(2 / (1 - signed**2)), rel=1e-9)
    assert t_quantile(probability, 2001) == pytest.approx(NormalDist().inv_cdf(probability), rel=5e-3)


@pytest.mark.parametrize(("probability", "freedom"), [(0.0, 3), (1.0, 3), (0.9, 0)])
def test_t_quantile_refuses(probability: float, freedom: int) -> None:
    with pytest.raises(ValueError, match="no t quantile"):
        t_quantile(probability, freedom)


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
