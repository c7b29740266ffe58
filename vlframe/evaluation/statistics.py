"""How sure a score is: intervals, chance, and paired comparison. Needs neither torch nor scipy."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, stdev


@dataclass(frozen=True)
class Interval:
    """A value and the borders it is known to. NaN where nothing is known."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Paired:
    """Two systems on the same questions: what only the first, only the second has right, and the two-sided p-value."""

    only_first: int
    only_second: int
    p: float


def wilson(right: int, n: int, confidence: float = 0.95) -> Interval:
    """The score interval of a proportion (Wilson 1927). Without questions anything from 0 to 1 is possible."""
    if not 0 <= right <= n:
        raise ValueError(f"{right} right out of {n} is not a proportion")
    if n == 0:
        return Interval(math.nan, 0.0, 1.0)
    z = NormalDist().inv_cdf(_upper(confidence))
    share = right / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    margin = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    low = 0.0 if right == 0 else centre - margin  # exactly the borders, which rounding would miss
    high = 1.0 if right == n else centre + margin
    return Interval(share, low, high)


def chance(option_counts: Iterable[int]) -> float:
    """The accuracy expected of picking an option at random. NaN when a question has no options to pick from."""
    counts = list(option_counts)
    return fmean(1 / count for count in counts) if counts and all(counts) else math.nan


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> Paired:
    """McNemar's exact test: the questions on which two systems differ, against a fair coin."""
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
    """The mean of independent runs with Student's t interval. One run says nothing of its own spread: NaN borders."""
    if not values:
        raise ValueError("the mean over seeds needs at least one value")
    mean = fmean(values)
    if len(values) == 1:
        return Interval(mean, math.nan, math.nan)
    margin = t_quantile(_upper(confidence), len(values) - 1) * stdev(values) / math.sqrt(len(values))
    return Interval(mean, mean - margin, mean + margin)


def t_quantile(probability: float, freedom: int) -> float:
    """Where Student's t distribution with ``freedom`` >= 1 degrees of freedom reaches ``probability``."""
    if not 0 < probability < 1 or freedom < 1:
        raise ValueError(f"no t quantile for probability {probability} and {freedom} degrees of freedom")
    if probability < 0.5:
        return -t_quantile(1 - probability, freedom)
    angle = _bisect(lambda angle: _t_within(angle, freedom), 2 * probability - 1, 0.0, math.pi / 2)
    return math.sqrt(freedom) * math.tan(angle)


def _t_within(angle: float, freedom: int) -> float:
    """P(|t| <= sqrt(freedom) tan(angle)): the finite sums of Abramowitz & Stegun 26.7.3 (odd) and 26.7.4 (even)."""
    odd = freedom % 2
    term = math.cos(angle) if odd else 1.0
    total = 0.0
    for k in range(2 + odd, freedom + 1, 2):
        total += term
        term *= math.cos(angle) ** 2 * (k - 1) / k
    total *= math.sin(angle)
    return (angle + total) * 2 / math.pi if odd else total


def _bisect(rising: Callable[[float], float], wanted: float, low: float, high: float) -> float:
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if rising(middle) < wanted else (low, middle)
    return middle


def _upper(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"a confidence lies between 0 and 1, not {confidence}")
    return (1 + confidence) / 2
