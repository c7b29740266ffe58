"""What may be said of several differences to one baseline: corrected p-values, equivalence, and what would be seen.

``Difference`` (``vlframe.evaluation.crossed``) has the standard error and the degrees of freedom that all of this
stands on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from vlframe.evaluation.crossed import Difference
from vlframe.evaluation.student import t_quantile, t_tail

ALPHA = 0.05  # of two-sided tests: false alarms among studies without any effect
POWER = 0.8  # of an effect as large as the detectable one

Word = Literal["better", "worse", "equal", "undecided"]


@dataclass(frozen=True)
class Verdict:
    """What is said of one difference. ``p`` and ``p_equal`` are corrected for all that are compared; NaN: unknown."""

    word: Word
    p: float  # against no difference
    p_equal: float  # against one of the margin or more; NaN without a margin
    detectable: float  # the least difference that would have been seen in four of five such studies
    needed: int | None  # questions at which the margin (without one, this difference) would be; None: no number of them


def holm(ps: Sequence[float]) -> list[float]:
    """Correct p-values by Holm's (1979) step-down procedure, in the order of ``ps``. NaN stays NaN and does not count
    as a comparison.
    """
    known = sorted((p, at) for at, p in enumerate(ps) if not math.isnan(p))
    corrected, most = list(map(float, ps)), 0.0
    for done, (p, at) in enumerate(known):
        most = max(most, min(1.0, p * (len(known) - done)))
        corrected[at] = most
    return corrected


def equivalence(difference: Difference, margin: float) -> float:
    """Return the p-value of two one-sided t tests (TOST; Schuirmann 1987): small where the difference is within
    ``margin`` > 0 on either side.
    """
    if not margin > 0:
        raise ValueError(f"a margin of equivalence is above 0, not {margin}")
    if not difference.error > 0:
        return math.nan
    sides = (difference.centre + margin, margin - difference.centre)
    return max(t_tail(side / difference.error, difference.freedom) for side in sides)


def detectable(difference: Difference, comparisons: int = 1, power: float = POWER) -> float:
    """Return the minimum detectable effect (Bloom 1995): the least true difference that a test of this standard error
    finds with this power, when it is one of so many ``comparisons``.
    """
    return difference.error * _multiple(difference.freedom, comparisons, power)


def needed(difference: Difference, wanted: float, comparisons: int = 1, power: float = POWER) -> int | None:
    """Return how many questions like these (as many about a clip) would make ``wanted`` the detectable effect. None: no
    number of questions would, with these seeds.
    """
    if not (difference.error > 0 and wanted != 0):
        return None
    left = (wanted / _multiple(difference.freedom, comparisons, power)) ** 2 - difference.lasting
    over_clips = difference.error**2 - difference.lasting
    return math.ceil(difference.questions * over_clips / left) if left > 0 else None


def verdicts(differences: Sequence[Difference], margin: float | None = None, alpha: float = ALPHA) -> list[Verdict]:
    """Return a verdict for each difference, with Holm's correction over all of them, for tests and for equivalence
    alike.

    A difference that is significantly within the margin is equal, even if it is significantly different from zero.
    """
    corrected = holm([item.p for item in differences])
    equal = holm([math.nan if margin is None else equivalence(item, margin) for item in differences])
    comparisons = max(1, sum(not math.isnan(item.p) for item in differences))
    return [
        _verdict(item, p, p_equal, margin, alpha, comparisons)
        for item, p, p_equal in zip(differences, corrected, equal, strict=True)
    ]


def _verdict(
    item: Difference, p: float, p_equal: float, margin: float | None, alpha: float, comparisons: int
) -> Verdict:
    word: Word = "undecided"
    if p_equal <= alpha:
        word = "equal"
    elif p <= alpha:
        word = "better" if item.centre > 0 else "worse"
    wanted = margin if margin is not None else abs(item.value)
    return Verdict(word, p, p_equal, detectable(item, comparisons), needed(item, wanted, comparisons))


def _multiple(freedom: float, comparisons: int, power: float) -> float:
    """Return the detectable effect as a multiple of the standard error, at the first of Holm's steps, which is the
    hardest.
    """
    if math.isnan(freedom):
        return math.nan
    return t_quantile(1 - ALPHA / comparisons / 2, freedom) + t_quantile(power, freedom)
