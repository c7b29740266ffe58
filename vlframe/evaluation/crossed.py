"""Seeds crossed with clips: how sure a score is, and a difference between two choices on the same questions.

A claim about a recipe holds for other clips of this kind, and for other seeds; one about some weights only for other
clips. Questions about one clip stand and fall together. S seeds, Q questions, C clips.

The variances are those of a two-level bootstrap (seeds are drawn anew, then clips; Owen 2007) with as many resamples as
there can be, which has a closed form. What is chance in single answers such a bootstrap counts three times; it is
counted once here, so that intervals are as wide as they have to be and no wider (tests/evaluation/test_crossed.py).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from vlframe.evaluation.statistics import Interval, score_interval, upper_share
from vlframe.evaluation.student import t_quantile, t_tail

Rows = Sequence[Sequence[float]]  # [seed][question]


@dataclass(frozen=True)
class Variance:
    """Of a mean, with its degrees of freedom. ``lasting`` is the part of it that more clips do not lessen.

    An interval covers what it promises with ``freedom``. A test that is corrected for many looks far into the tails,
    where few seeds that happen to agree make false alarms: it takes ``cautious``, which counts seeds even then.
    """

    value: float
    freedom: float
    cautious: float
    lasting: float = 0.0


@dataclass(frozen=True)
class Difference:
    """How much more the second has than the first of the same questions. NaN where nothing is known.

    ``low`` and ``high`` are the borders of the interval, ``p`` is two-sided, against no difference. They are
    Student's t around ``centre``, with standard error ``error``. For shares, ``centre`` is ``value`` with one clip
    added that only the first has right, and one that only the second has (Bonett & Price 2012). ``freedom`` is that of
    tests (see ``Variance``).
    """

    value: float
    low: float
    high: float
    p: float
    centre: float
    error: float
    freedom: float
    lasting: float  # the part of error² that more clips do not lessen: that of the seeds
    clips: int
    questions: int

    @property
    def interval(self) -> Interval:
        return Interval(self.value, self.low, self.high)


def crossed_share(right: Rows, clips: Sequence[Hashable], confidence: float = 0.95) -> Interval:
    """Return the share of right answers over seeds and questions, with an interval within [0, 1].

    ``right[seed][question]`` is from 0 to 1; ``clips`` says which questions share a clip. With one seed the interval
    is over clips: other questions of this kind, put to the same weights. With several it is over clips and seeds. It is
    Wilson's (1927) with as many questions as would be as sure, and Student's t. One seed, and a clip for each question:
    Wilson's as it is.
    """
    right_SQ = _table(right, clips)
    seeds, questions = right_SQ.shape
    if questions == 0:
        return Interval(math.nan, 0.0, 1.0)
    count = len(set(clips))
    share = float(right_SQ.mean())
    if seeds == 1 and count == questions:
        return score_interval(share, questions, NormalDist().inv_cdf(upper_share(confidence)))
    variance = mean_variance(right, clips)
    known = 0 < share < 1 and count > 1  # all right, or all wrong: nothing was seen of how far clips differ
    as_sure_as = min(share * (1 - share) / variance.value, right_SQ.size) if known and variance.value > 0 else count
    return score_interval(share, as_sure_as, t_quantile(upper_share(confidence), variance.freedom))


def over_items(
    first: Rows, second: Rows, clips: Sequence[Hashable], confidence: float = 0.95, *, shares: bool = True
) -> Difference:
    """Return how much these very weights would differ on other clips: the clustered paired difference, with the
    variance over clips times C/(C-1) and Student's t with C-1 degrees of freedom (Cameron & Miller 2015).

    Rows are seeds; the sides may have different numbers of them. ``shares``: answers are worth 0 to 1, so that a
    difference lies between -1 and 1. If all questions are about one clip, only the value is known.
    """
    return _difference(first, second, clips, confidence, shares, seeds_too=False)


def over_items_and_seeds(
    first: Rows, second: Rows, clips: Sequence[Hashable], confidence: float = 0.95, *, shares: bool = True
) -> Difference | None:
    """Return how much the two recipes would differ on other clips with other seeds. None: a side has only one seed,
    which says nothing about the spread between seeds.
    """
    if min(len(first), len(second)) < 2:
        return None
    return _difference(first, second, clips, confidence, shares, seeds_too=True)


def crossed_difference(
    first: Rows, second: Rows, clips: Sequence[Hashable], confidence: float = 0.95, *, shares: bool = True
) -> Difference:
    """Return the widest claim that the answers allow: over clips and seeds if both sides have several seeds, else over
    clips.
    """
    found = over_items_and_seeds(first, second, clips, confidence, shares=shares)
    return over_items(first, second, clips, confidence, shares=shares) if found is None else found


def _difference(
    first: Rows, second: Rows, clips: Sequence[Hashable], confidence: float, shares: bool, *, seeds_too: bool
) -> Difference:
    first_SQ, second_SQ = _table(first, clips), _table(second, clips)
    numbers_Q, count = _numbered(clips)
    gain_Q = second_SQ.mean(0) - first_SQ.mean(0)
    value = float(gain_Q.mean()) if gain_Q.size else math.nan
    centre, variance = _padded(gain_Q, numbers_Q) if shares and count > 1 else (value, _over_clips(gain_Q, numbers_Q))
    if seeds_too and count > 1:
        variance = _over_seeds_too(variance, [first_SQ, second_SQ], numbers_Q)
    error, nan = math.sqrt(variance.value), math.nan
    if count < 2 or error == 0:
        return Difference(value, nan, nan, nan, nan, nan, nan, nan, count, gain_Q.size)
    margin = t_quantile(upper_share(confidence), variance.freedom) * error
    low, high = centre - margin, centre + margin
    if shares:
        low, high = max(-1.0, low), min(1.0, high)
    p, cautious = 2 * t_tail(abs(centre) / error, variance.cautious), variance.cautious
    return Difference(value, low, high, p, centre, error, cautious, variance.lasting, count, gain_Q.size)


def _padded(gain_Q: np.ndarray, numbers_Q: np.ndarray) -> tuple[float, Variance]:
    """Return the mean and its variance with one clip added that only the first has right, and one that only the second
    has, each as large as the questions of a clip are alike. Answers that are all the same leave a difference open.
    """
    count = int(numbers_Q.max()) + 1
    weight = _alike(gain_Q, numbers_Q)
    padded_Q, weights_Q = np.append(gain_Q, [1.0, -1.0]), np.append(np.ones(gain_Q.size), [weight, weight])
    variance = _over_clips(padded_Q, np.append(numbers_Q, [count, count + 1]), weights_Q)
    seen = count - 1  # the two clips that are added were not seen
    return float(np.average(padded_Q, weights=weights_Q)), Variance(variance.value, seen, seen)


def mean_variance(values: Rows, clips: Sequence[Hashable]) -> Variance:
    """Return the variance of a mean over seeds and questions when clips are drawn anew with all their questions and,
    where there are several seeds, when these are drawn anew, too.
    """
    values_SQ, (numbers_Q, _) = _table(values, clips), _numbered(clips)
    return _over_seeds_too(_over_clips(values_SQ.mean(0), numbers_Q), [values_SQ], numbers_Q)


def _over_clips(values_Q: np.ndarray, numbers_Q: np.ndarray, weights_Q: np.ndarray | None = None) -> Variance:
    """Return the variance over clips; 0, unknown, for one clip."""
    weights_Q = np.ones(values_Q.size) if weights_Q is None else weights_Q
    residual_Q = weights_Q * (values_Q - np.average(values_Q, weights=weights_Q))
    sums_C = np.bincount(numbers_Q, weights=residual_Q)
    count = sums_C.size
    value = float((sums_C**2).sum() / weights_Q.sum() ** 2 * count / (count - 1)) if count > 1 else 0.0
    freedom = max(count - 1, 1)
    return Variance(value, freedom, freedom)


def _over_seeds_too(over_clips: Variance, sides: Sequence[np.ndarray], numbers_Q: np.ndarray) -> Variance:
    """Return the variance over clips, and over seeds what is more than chance in single answers, which is in both.
    Degrees of freedom by Satterthwaite (1946).
    """
    terms = [_of_seeds(side_SQ, numbers_Q) for side_SQ in sides if len(side_SQ) > 1]
    more = max(sum(seeds.value - chance.value for seeds, chance in terms), 0.0)
    parts = [over_clips, *(item for pair in terms for item in pair)]
    total = over_clips.value + more
    spread = sum(item.value**2 / item.freedom for item in parts)
    freedom = max(1.0, total**2 / spread) if spread else over_clips.freedom
    return Variance(total, freedom if more else over_clips.freedom, freedom, more)


def _of_seeds(values_SQ: np.ndarray, numbers_Q: np.ndarray) -> tuple[Variance, Variance]:
    """Return, for a mean over seeds and questions, the variance when seeds are drawn anew, and the part of it that is
    chance in single answers (the interaction of seeds and clips).
    """
    seeds, questions = values_SQ.shape
    count = int(numbers_Q.max()) + 1
    sums_SC = np.stack([np.bincount(numbers_Q, weights=row_Q) for row_Q in values_SQ - values_SQ.mean()]) / questions
    of_seed_S, of_clip_C = sums_SC.sum(1), sums_SC.mean(0)
    share_C = np.bincount(numbers_Q) / questions
    over_seeds = Variance(float((of_seed_S**2).sum()) / (seeds - 1) / seeds, seeds - 1, seeds - 1)
    if count < 2:
        return over_seeds, Variance(0.0, 1, 1)
    left_SC = sums_SC - of_clip_C - of_seed_S[:, None] * share_C
    freedom = (seeds - 1) * (count - 1)
    return over_seeds, Variance(float((left_SC**2).sum()) * count / freedom / seeds, freedom, freedom)


def _alike(values_Q: np.ndarray, numbers_Q: np.ndarray) -> float:
    """Return how many questions of a clip count as one (the design effect): from 1 to their mean number."""
    mean_number = values_Q.size / (int(numbers_Q.max()) + 1)
    alone = _over_clips(values_Q, np.arange(values_Q.size)).value
    return min(max(_over_clips(values_Q, numbers_Q).value / alone, 1.0), mean_number) if alone else mean_number


def _numbered(clips: Sequence[Hashable]) -> tuple[np.ndarray, int]:
    """Return the number of each question's clip, and how many clips there are."""
    numbers = {clip: number for number, clip in enumerate(dict.fromkeys(clips))}
    return np.array([numbers[clip] for clip in clips], dtype=int), len(numbers)


def _table(rows: Rows, clips: Sequence[Hashable]) -> np.ndarray:
    table_SQ = np.array([list(row) for row in rows], dtype=float).reshape(len(rows), -1)
    if not len(rows) or table_SQ.shape[1] != len(clips):
        raise ValueError(f"each seed needs an answer to each of {len(clips)} questions, and there are {table_SQ.shape}")
    return table_SQ
