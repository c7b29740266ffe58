"""Seeds crossed with clips: against other libraries, a bootstrap drawn for real, and simulated truth."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from helpers.simulated import answers

from vlframe.evaluation.crossed import (
    crossed_share,
    mean_variance,
    over_items,
    over_items_and_seeds,
)
from vlframe.evaluation.statistics import wilson
from vlframe.evaluation.student import t_quantile

ORACLES = json.loads((Path(__file__).parent / "oracles.json").read_text())


def near(value: float, tolerance: float = 1e-9) -> object:
    return pytest.approx(value, abs=tolerance)


def test_the_clustered_mean_is_statsmodels() -> None:
    """OLS on a constant with clustered errors: C/(C-1), t of C-1 degrees of freedom."""
    oracle = ORACLES["clustered"]
    mean, variance = oracle["mean"], mean_variance([oracle["values"]], oracle["clips"])
    assert math.sqrt(variance.value) == near(oracle["error"])
    assert variance.freedom == len(set(oracle["clips"])) - 1
    margin = t_quantile(0.975, variance.freedom) * oracle["error"]
    assert [mean - margin, mean + margin] == [near(border) for border in oracle["interval"]]


def test_a_clip_for_each_question_is_wilsons() -> None:
    right = [1.0] * 81 + [0.0] * 182
    assert crossed_share([right], range(263)) == wilson(81, 263)
    assert crossed_share([[]], []).high == 1.0


def test_questions_that_repeat_each_other_are_no_news() -> None:
    """Four times the same answer about a clip leaves as much open as one of them, with t in place of z."""
    right, clips = [1.0] * 12 + [0.0] * 18, [clip for clip in range(30) for _ in range(4)]
    fourfold = [hit for hit in right for _ in range(4)]
    once, repeated = crossed_share([right], range(30)), crossed_share([fourfold], clips)
    assert repeated.value == once.value
    assert 1 < (repeated.high - repeated.low) / (once.high - once.low) < 1.07  # t of 29 over z, and C/(C-1)
    gain, gains = over_items([[0.0] * 30], [right], range(30)), over_items([[0.0] * 120], [fourfold], clips)
    assert (gains.low, gains.high, gains.p) == (near(gain.low), near(gain.high), near(gain.p))
    assert (gain.questions, gains.questions, gains.clips) == (30, 120, 30)


def test_differences_are_bonett_and_prices() -> None:
    """Bonett & Price 2012: (b+1, c+1 of n+2); here with C/(C-1), and t for z."""
    first, second = [[1.0] * 9 + [0.0] * 41], [[0.0] * 4 + [1.0] * 25 + [0.0] * 21]
    b, c, n = 4 / 52 + 1 / 52, 20 / 52 + 1 / 52, 52
    centre = c - b
    margin = t_quantile(0.975, 49) * math.sqrt((b + c - centre**2) / n * 52 / 51)
    found = over_items(first, second, range(50))
    assert (found.value, found.centre, found.freedom) == (near(16 / 50), near(centre), 49)
    assert (found.low, found.high) == (near(centre - margin), near(centre + margin))
    back = over_items(second, first, range(50))
    assert (back.low, back.high, back.p) == (near(-found.high), near(-found.low), near(found.p))


def test_the_p_value_is_the_level_at_which_the_interval_meets_zero() -> None:
    ((first, second), clips), *_ = answers(40, 3, 4, gain=0.06, rounds=1)
    p = over_items(first, second, clips).p
    at_p = over_items(first, second, clips, confidence=1 - p)
    assert 0 < p < 1 and min(abs(at_p.low), abs(at_p.high)) == near(0, 1e-7)
    seeds_too = over_items_and_seeds(first, second, clips)
    assert seeds_too is not None and seeds_too.p > p and seeds_too.high - seeds_too.low > 0
    assert seeds_too.lasting > 0 and seeds_too.freedom < 39


def test_equal_answers_leave_a_difference_open() -> None:
    few, many = [over_items([[1.0] * n], [[1.0] * n], range(n)) for n in (10, 1000)]
    assert few.value == many.value == 0 and few.low < -0.2 and -0.01 < many.low < 0 < many.high < 0.01
    assert few.p == many.p == 1.0
    all_won = over_items([[0.0] * 12], [[1.0] * 12], range(12))
    assert all_won.value == all_won.high == 1.0 and 0 < all_won.p < 1e-3
    one_clip = over_items([[1.0, 0.0]], [[1.0, 1.0]], ["clip", "clip"])
    assert one_clip.value == 0.5 and math.isnan(one_clip.low) and math.isnan(one_clip.p)
    with pytest.raises(ValueError, match="3 questions"):
        over_items([[1.0] * 3], [[1.0] * 2], range(3))


def test_graded_answers_have_no_bounds() -> None:
    """The clustered t test as it is: statsmodels' p-value."""
    oracle = ORACLES["clustered"]
    values, clips = oracle["values"], oracle["clips"]
    found = over_items([[0.0] * len(values)], [values], clips, shares=False)
    assert (found.value, found.centre, found.p) == (near(oracle["mean"]), found.value, near(oracle["p"]))
    assert [found.low, found.high] == [near(border) for border in oracle["interval"]]
    seeds_too = over_items_and_seeds([[0.0] * len(values)] * 2, [values, [value + 9 for value in values]], clips,
                                     shares=False)  # fmt: skip
    assert seeds_too is not None and seeds_too.value == near(oracle["mean"] + 4.5) and seeds_too.high > 10
    alike = over_items([[1.0, 2.0, 3.0]], [[1.5, 2.5, 3.5]], "abc", shares=False)
    assert alike.value == 0.5 and math.isnan(alike.low) and math.isnan(alike.p)


def test_one_seed_says_nothing_of_others() -> None:
    ((first, second), clips), *_ = answers(20, 2, 3, gain=0.0, rounds=1)
    assert over_items_and_seeds(first[:1], second, clips) is None
    assert over_items(first[:1], second, clips).clips == 20


def test_the_variance_is_that_of_a_two_level_bootstrap_less_what_it_counts_too_often() -> None:
    """Seeds are drawn anew, clips are drawn anew, both are: one less than there are of each, with replacement."""
    draws = np.random.default_rng(2)
    clips, questions, seeds = 40, 3, 4
    of = np.repeat(np.arange(clips), questions)
    mean_SQ = 0.5 + draws.normal(0, 0.2, clips)[of] + draws.normal(0, 0.06, seeds)[:, None]
    values_SQ = (draws.random((seeds, of.size)) < mean_SQ).astype(float)
    of_clip_SC = values_SQ.reshape(seeds, clips, questions).mean(2)
    rounds, all_C, all_S = 20_000, np.arange(clips), np.arange(seeds)
    some_C = draws.integers(clips, size=(rounds, clips - 1))
    some_S = draws.integers(seeds, size=(rounds, seeds - 1))
    both = np.var([of_clip_SC[np.ix_(s, c)].mean() for s, c in zip(some_S, some_C, strict=True)])
    of_clips = np.var([of_clip_SC[np.ix_(all_S, c)].mean() for c in some_C])
    of_seeds = np.var([of_clip_SC[np.ix_(s, all_C)].mean() for s in some_S])
    chance = both - of_clips - of_seeds
    assert mean_variance([values_SQ.mean(0)], of.tolist()).value == pytest.approx(of_clips, rel=0.05)
    found = mean_variance(values_SQ, of.tolist())
    assert found.value == pytest.approx(of_clips + of_seeds - chance, rel=0.05)
    assert found.lasting == pytest.approx(of_seeds - chance, rel=0.1)
    assert both > 1.1 * found.value


@pytest.mark.parametrize(
    ("clips", "questions", "seeds"),
    [(60, 1, 1), (30, 4, 1), (20, 8, 1), (60, 4, 3), (60, 4, 5), (100, 2, 10)],
)
def test_of_a_hundred_intervals_95_hold_the_truth(clips: int, questions: int, seeds: int) -> None:
    base, gain, rounds, share_held, gain_held = 0.55, 0.08, 1000, 0, 0
    for (first, second), of in answers(clips, questions, seeds, gain=gain, rounds=rounds, base=base):
        share = crossed_share(first, of)
        found = over_items_and_seeds(first, second, of) or over_items(first, second, of)
        share_held += share.low <= base <= share.high
        gain_held += found.low <= gain <= found.high
    assert 0.93 <= share_held / rounds <= 0.97 and 0.93 <= gain_held / rounds <= 0.97, (share_held, gain_held)


def test_an_interval_over_items_holds_what_these_weights_would_reach_on_other_clips() -> None:
    """The seeds stay as they are: their own difference is what is sought, and not that of the recipes."""
    draws, clips, rounds, held = np.random.default_rng(3), 60, 1500, 0
    of = [clip for clip in range(clips) for _ in range(3)]
    first_S, second_S = np.array([-0.06, 0.0, 0.03]), np.array([0.07, 0.02, 0.05])
    truth = second_S.mean() - first_S.mean()
    for _ in range(rounds):
        clip_Q = draws.choice([-0.15, 0.15], clips)[of]
        sides = [(draws.random((3, len(of))) < 0.5 + clip_Q + seed_S[:, None]) for seed_S in (first_S, second_S)]
        found = over_items(*sides, of)
        held += found.low <= truth <= found.high
    assert 0.93 <= held / rounds <= 0.97
