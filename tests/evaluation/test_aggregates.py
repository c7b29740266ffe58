"""Several benchmarks together: against scipy, and how often the intervals hold the truth."""

import json
import math
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest

from vlframe.evaluation.aggregates import interquartile_mean, probability_of_improvement

ORACLES = json.loads((Path(__file__).parent / "oracles.json").read_text())
SPREAD = 0.03  # of seeds


def test_the_interquartile_mean_is_scipys_trimmed_mean() -> None:
    oracle = ORACLES["interquartile_mean"]
    assert interquartile_mean(oracle["scores"]).value == pytest.approx(oracle["value"])


def test_the_probability_of_improvement_is_mann_and_whitneys() -> None:
    oracle = ORACLES["improvement"]
    found = probability_of_improvement([oracle["first"]], [oracle["second"]])
    assert found.value == pytest.approx(oracle["value"]) and 0 <= found.low < found.value < found.high <= 1
    back = probability_of_improvement([oracle["second"]], [oracle["first"]])
    assert (back.value, back.low) == (pytest.approx(1 - found.value), pytest.approx(1 - found.high))


def test_one_seed_leaves_the_borders_open() -> None:
    assert math.isnan(interquartile_mean([[0.5], [0.7]]).low)
    found = probability_of_improvement([[0.5], [0.7]], [[0.6], [0.7]])
    assert found.value == 0.75 and math.isnan(found.low)
    always = probability_of_improvement([[0.1, 0.2, 0.3]], [[0.5, 0.6, 0.7]])
    assert always.value == always.high == 1.0 and always.low < 0.4  # three seeds are three seeds
    with pytest.raises(ValueError, match="there are 1 and 2"):
        probability_of_improvement([[0.5]], [[0.6], [0.7]])
    with pytest.raises(ValueError, match="at least one"):
        interquartile_mean([])


@pytest.mark.parametrize(("seeds", "gain"), [(5, 0.0), (10, 0.0), (10, 0.03), (10, 0.06)])
def test_of_a_hundred_intervals_95_hold_the_truth(seeds: int, gain: float) -> None:
    draws, rounds, held = np.random.default_rng(9), 1000, [0, 0]
    base_M1 = np.array([0.35, 0.5, 0.6, 0.75])[:, None]
    many = np.sort((base_M1 + draws.normal(0, SPREAD, (4, 20_000))).ravel())
    middle, ahead = many[20_000:-20_000].mean(), NormalDist(0, SPREAD * 2**0.5).cdf(gain)
    for _ in range(rounds):
        first, second = (base_M1 + more + draws.normal(0, SPREAD, (4, seeds)) for more in (0.0, gain))
        for at, (found, truth) in enumerate(
            [(interquartile_mean(first), middle), (probability_of_improvement(first, second), ahead)]
        ):
            held[at] += found.low <= truth <= found.high
    most = 0.97 if seeds > 5 else 0.99  # a share of pairs of few seeds: rather too wide
    assert 0.93 <= held[0] / rounds <= 0.97 and 0.93 <= held[1] / rounds <= most, held
