"""The uncertainty of scores: intervals, chance, and paired comparison. Needs neither torch nor scipy.

Questions about one file are correlated, so clips (or whatever else questions share) are resampled, not single
questions. S seeds, Q questions, C clips, K sums.
"""

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, stdev

from vlframe.evaluation.student import t_quantile

RESAMPLES = 2000  # of a bootstrap; bounds of a mean then vary by some hundredths of the interval's width


@dataclass(frozen=True)
class Interval:
    """A value and its bounds. NaN if unknown."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Paired:
    """Two systems on the same questions: how many only the first, only the second has right, and the two-sided
    p-value.
    """

    only_first: int
    only_second: int
    p: float


def wilson(right: int, n: int, confidence: float = 0.95) -> Interval:
    """Return the score interval of a proportion (Wilson 1927). Without questions it is 0 to 1."""
    if not 0 <= right <= n:
        raise ValueError(f"{right} right out of {n} is not a proportion")
    if n == 0:
        return Interval(math.nan, 0.0, 1.0)
    return score_interval(right / n, n, NormalDist().inv_cdf(upper_share(confidence)))


def score_interval(share: float, n: float, z: float) -> Interval:
    """Return Wilson's interval for a share as certain as that of ``n`` independent questions."""
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    margin = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    low = 0.0 if share == 0 else centre - margin  # exact bounds, which rounding would miss
    high = 1.0 if share == 1 else centre + margin
    return Interval(share, low, high)


def bootstrap(
    rows: Sequence[Sequence[float]],
    value: Callable[[Sequence[float]], float],
    groups: Sequence[Hashable],
    *,
    bounds: tuple[float, float] = (-math.inf, math.inf),
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Return the percentile interval (Efron 1979) of a function of sums: ``value`` of the sum of ``rows``, one per
    question, when the questions' ``groups`` are resampled.

    If resampling gives a single value (one group, or all questions alike), the variation between groups is unknown: the
    interval is then the widest that values within ``bounds`` can have (Wilson's, stretched over the bounds), and NaN
    without bounds.
    """
    import numpy as np

    if len(rows) != len(groups):
        raise ValueError(f"{len(rows)} questions are in as many groups, not {len(groups)}")
    if not rows:
        return Interval(math.nan, math.nan, math.nan)
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    sums_GK = np.zeros((len(numbers), len(rows[0])))
    np.add.at(sums_GK, [numbers[group] for group in groups], np.asarray(rows, dtype=float))
    point = float(value(sums_GK.sum(0).tolist()))
    draws, count = np.random.default_rng(seed), len(sums_GK)
    at_once = max(1, min(RESAMPLES, 1_000_000 // count))  # resamples that fit memory, however many groups there are
    drawn: list[float] = []
    while len(drawn) < RESAMPLES:
        resampled_RK = sums_GK[draws.integers(count, size=(min(at_once, RESAMPLES - len(drawn)), count))].sum(1)
        drawn += [value(sums) for sums in resampled_RK.tolist()]
    if np.ptp(drawn) <= 1e-12 * max(1.0, abs(point)):
        return _within(bounds, point, len(numbers), confidence)
    low, high = np.quantile(drawn, [1 - upper_share(confidence), upper_share(confidence)])
    return Interval(point, float(low), float(high))


def bootstrap_mean(
    values: Sequence[float],
    groups: Sequence[Hashable] | None = None,
    *,
    bounds: tuple[float, float] = (-math.inf, math.inf),
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Return the mean of ``values`` with its bootstrap interval. Without ``groups`` each value is a group."""
    rows = [(float(item), 1.0) for item in values]
    return bootstrap(
        rows,
        lambda sums: sums[0] / sums[1],
        range(len(rows)) if groups is None else groups,
        bounds=bounds,
        confidence=confidence,
        seed=seed,
    )


def _within(bounds: tuple[float, float], point: float, groups: int, confidence: float) -> Interval:
    low, high = bounds
    if not (math.isfinite(low) and math.isfinite(high)):
        return Interval(point, math.nan, math.nan)
    share = min(max((point - low) / (high - low), 0.0), 1.0)
    wide = score_interval(share, groups, NormalDist().inv_cdf(upper_share(confidence)))
    return Interval(point, low + wide.low * (high - low), low + wide.high * (high - low))


def chance(option_counts: Iterable[int]) -> float:
    """Return the expected accuracy of picking an option at random. NaN if a question has no options."""
    counts = list(option_counts)
    return fmean(1 / count for count in counts) if counts and all(counts) else math.nan


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> Paired:
    """Run McNemar's exact test: the questions on which two systems differ, against a fair coin."""
    if len(first) != len(second):
        raise ValueError(f"a paired comparison needs the same questions, and there are {len(first)} and {len(second)}")
    only_first = sum(a and not b for a, b in zip(first, second, strict=True))
    only_second = sum(b and not a for a, b in zip(first, second, strict=True))
    differ = only_first + only_second
    ways, tail = 1, 0
    for k in range(min(only_first, only_second) + 1):
        tail += ways
        ways = ways * (differ - k) // (k + 1)
    return Paired(only_first, only_second, min(1.0, 2 * tail / 2**differ))


def over_seeds(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Return the mean of independent runs with Student's t interval. One run has no known spread: NaN bounds."""
    if not values:
        raise ValueError("the mean over seeds needs at least one value")
    mean = fmean(values)
    if len(values) == 1:
        return Interval(mean, math.nan, math.nan)
    margin = t_quantile(upper_share(confidence), len(values) - 1) * stdev(values) / math.sqrt(len(values))
    return Interval(mean, mean - margin, mean + margin)


def upper_share(confidence: float) -> float:
    """Return the share of a distribution below the upper bound of a two-sided interval."""
    if not 0 < confidence < 1:
        raise ValueError(f"a confidence lies between 0 and 1, not {confidence}")
    return (1 + confidence) / 2
