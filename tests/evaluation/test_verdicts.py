"""Verdicts over several differences: against other libraries, and how often they are wrong about simulated studies."""

import json
import math
from pathlib import Path

import pytest
from helpers.simulated import answers

from vlframe.evaluation.crossed import Difference, over_items, over_items_and_seeds
from vlframe.evaluation.verdicts import detectable, equivalence, holm, needed, verdicts

ORACLES = json.loads((Path(__file__).parent / "oracles.json").read_text())


def difference(value: float, error: float, freedom: float = 99, lasting: float = 0.0) -> Difference:
    return Difference(value, math.nan, math.nan, 0.5, value, error, freedom, lasting, clips=100, questions=400)


def test_holm_is_statsmodels() -> None:
    assert holm(ORACLES["holm"]["p"]) == pytest.approx(ORACLES["holm"]["corrected"])
    assert holm([]) == []


def test_what_is_unknown_is_no_comparison() -> None:
    first, unknown, last = holm([0.02, math.nan, 0.03])
    assert (first, last) == (pytest.approx(0.04), pytest.approx(0.04)) and math.isnan(unknown)


def test_equivalence_is_statsmodels() -> None:
    oracle = ORACLES["equivalence"]
    found = difference(oracle["mean"], oracle["error"], oracle["freedom"])
    assert [equivalence(found, margin) for margin in oracle["margins"]] == pytest.approx(oracle["p"])
    with pytest.raises(ValueError, match="above 0"):
        equivalence(found, 0.0)


@pytest.mark.parametrize(("n", "effect"), ORACLES["detectable"])
def test_the_detectable_effect_is_that_of_a_power_analysis(n: int, effect: float) -> None:
    """In standard deviations; ours takes no account of the noncentral t, which matters to few."""
    assert detectable(difference(0.0, 1 / math.sqrt(n), n - 1)) == pytest.approx(effect, rel=0.01)


def test_as_many_questions_as_are_needed_make_the_wanted_difference_detectable() -> None:
    now = difference(0.01, 0.02)
    count = needed(now, 0.03)
    assert count is not None and count > now.questions
    enough = difference(0.01, 0.02 * math.sqrt(now.questions / count))
    assert detectable(enough) == pytest.approx(0.03, rel=1e-3)
    assert needed(now, detectable(now)) == pytest.approx(now.questions, abs=1)
    assert needed(difference(0.01, 0.02, lasting=0.019**2), 0.03) is None  # other seeds alone vary that much


def test_words() -> None:
    clear, back, same, open_ = difference(0.2, 0.02), difference(-0.2, 0.02), difference(0.0, 0.004), difference(0, 0.1)
    clear, back = (Difference(**{**item.__dict__, "p": 1e-9}) for item in (clear, back))
    found = verdicts([clear, back, same, open_], margin=0.02)
    assert [item.word for item in found] == ["better", "worse", "equal", "undecided"]
    assert found[3].needed is not None and found[3].needed > 400
    assert found[2].detectable == detectable(same, comparisons=4) > detectable(same)
    without = verdicts([same])[0]
    assert without.word == "undecided" and math.isnan(without.p_equal) and without.needed is None
    small = Difference(**{**difference(0.005, 0.001).__dict__, "p": 1e-5})
    assert verdicts([small], margin=0.02)[0].word == "equal" and verdicts([small])[0].word == "better"
    unknown = verdicts([Difference(0.5, *[math.nan] * 7, clips=1, questions=2)], margin=0.1)[0]
    assert unknown.word == "undecided" and unknown.needed is None and math.isnan(unknown.p)


@pytest.mark.parametrize(("seeds", "clips"), [(1, 60), (3, 40)])
def test_of_a_thousand_studies_without_effect_fifty_at_most_find_one(seeds: int, clips: int) -> None:
    rounds, alarms, uncorrected = 1000, 0, 0
    for (baseline, *cells), of in answers(clips, 3, seeds, gain=0.0, rounds=rounds, sides=5):
        found = [over_items_and_seeds(baseline, cell, of) or over_items(baseline, cell, of) for cell in cells]
        alarms += any(item.word in ("better", "worse") for item in verdicts(found))
        uncorrected += any(item.p <= 0.05 for item in found)
    assert alarms / rounds <= 0.05 and uncorrected > 2 * alarms, (alarms, uncorrected)


def test_a_detectable_effect_is_found_in_four_of_five_studies() -> None:
    rounds, found, promised = 600, 0, []
    for (first, second), of in answers(80, 3, 1, gain=0.085, rounds=rounds):
        item = over_items(first, second, of)
        found += item.p <= 0.05
        promised.append(detectable(item))
    assert sum(promised) / rounds == pytest.approx(0.125, abs=0.02)
    rounds, power = 600, 0
    for (first, second), of in answers(80, 3, 1, gain=sum(promised) / len(promised), rounds=rounds):
        power += over_items(first, second, of).p <= 0.05
    assert found / len(promised) < 0.7 and 0.74 <= power / rounds <= 0.86


def test_equivalence_is_claimed_falsely_in_one_of_twenty_at_most() -> None:
    """The true difference is the margin itself, where a claim of less is most often made by chance."""
    rounds, claimed = 1000, 0
    for (first, second), of in answers(150, 3, 1, gain=0.1, rounds=rounds):
        claimed += verdicts([over_items(first, second, of)], margin=0.1)[0].word == "equal"
    assert claimed / rounds <= 0.06
