"""Student's t beside scipy's, and where it has a closed form."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlframe.evaluation.student import t_quantile, t_tail

ORACLES = json.loads((Path(__file__).parent / "oracles.json").read_text())


@pytest.mark.parametrize(("t", "freedom", "expected"), ORACLES["tails"])
def test_tails_are_scipys(t: float, freedom: float, expected: float) -> None:
    assert t_tail(t, freedom) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(("probability", "freedom", "expected"), ORACLES["quantiles"])
def test_quantiles_are_scipys(probability: float, freedom: float, expected: float) -> None:
    assert t_quantile(probability, freedom) == pytest.approx(expected, rel=1e-10)


@settings(max_examples=60, deadline=None)
@given(t=st.floats(-50, 50), freedom=st.floats(0.5, 5000))
def test_both_sides_make_one_and_the_quantile_is_the_inverse(t: float, freedom: float) -> None:
    upper = t_tail(t, freedom)
    assert upper + t_tail(-t, freedom) == pytest.approx(1, abs=1e-12)
    if 1e-4 < upper < 1 - 1e-4:
        assert t_quantile(1 - upper, freedom) == pytest.approx(t, abs=1e-6, rel=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.51, 0.999))
def test_closed_forms(probability: float) -> None:
    assert t_quantile(probability, 1) == pytest.approx(math.tan(math.pi * (probability - 0.5)), rel=1e-9)
    signed = 2 * probability - 1
    assert t_quantile(probability, 2) == pytest.approx(signed * math.sqrt(2 / (1 - signed**2)), rel=1e-9)


def test_what_has_no_t_distribution_is_refused() -> None:
    assert (t_tail(math.inf, 3), t_tail(-math.inf, 3), t_quantile(0.5, 3)) == (0.0, 1.0, 0.0)
    for t, freedom in ((math.nan, 3), (1.0, 0)):
        with pytest.raises(ValueError, match="no t distribution"):
            t_tail(t, freedom)
    for probability, freedom in ((0.0, 3), (1.0, 3), (0.9, 0)):
        with pytest.raises(ValueError, match="no t quantile"):
            t_quantile(probability, freedom)
