"""Student's t distribution, for whole and broken degrees of freedom. Needs nothing but the standard library."""

from __future__ import annotations

import math
from functools import lru_cache

SMALLEST = 1e-300  # in place of a denominator of 0
PRECISION = 1e-15
MANY = 100_000  # terms of a continued fraction; some square roots of the freedom are needed


def t_tail(t: float, freedom: float) -> float:
    """Return P(T > t). Far out it keeps its digits, since it is not computed as the difference between 1 and a number
    near 1.
    """
    if freedom <= 0 or math.isnan(t):
        raise ValueError(f"no t distribution for t {t} and {freedom} degrees of freedom")
    if math.isinf(t):
        return 0.0 if t > 0 else 1.0
    tail = 0.5 * _incomplete_beta(freedom / (freedom + t * t), t * t / (freedom + t * t), freedom / 2, 0.5)
    return tail if t >= 0 else 1 - tail


@lru_cache(maxsize=4096)
def t_quantile(probability: float, freedom: float) -> float:
    """Return where Student's t distribution with ``freedom`` > 0 degrees of freedom reaches ``probability``."""
    if not 0 < probability < 1 or freedom <= 0:
        raise ValueError(f"no t quantile for probability {probability} and {freedom} degrees of freedom")
    if probability == 0.5:
        return 0.0
    if probability < 0.5:
        return -t_quantile(1 - probability, freedom)
    tail = 1 - probability
    low, high = 0.0, 1.0
    while t_tail(high, freedom) > tail:
        low, high = high, 2 * high
    t = high
    while True:  # Newton's steps, and halves where one would leave what is known
        off = t_tail(t, freedom) - tail
        low, high = (t, high) if off > 0 else (low, t)
        step = t + off / _density(t, freedom)
        step = step if low < step < high else (low + high) / 2
        if abs(step - t) <= 4 * PRECISION * t:
            return step
        t = step


def _density(t: float, freedom: float) -> float:
    scale = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2) - 0.5 * math.log(freedom * math.pi)
    return math.exp(scale - (freedom + 1) / 2 * math.log1p(t * t / freedom))


def _incomplete_beta(x: float, rest: float, a: float, b: float) -> float:
    """Return the regularised incomplete beta function I_x(a, b); ``rest`` is 1 - x, with all its digits."""
    if x <= 0 or rest <= 0:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):  # where the fraction converges slowly
        return 1 - _incomplete_beta(rest, x, b, a)
    logarithm = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log(rest)
    return math.exp(logarithm) * _continued_fraction(x, a, b) / a


def _continued_fraction(x: float, a: float, b: float) -> float:
    """Return the continued fraction of the incomplete beta function (Abramowitz & Stegun 26.5.8), by Lentz's method."""
    upper, lower = 1.0, 1 / _not_zero(1 - (a + b) * x / (a + 1))
    result = lower
    for m in range(1, MANY):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            lower = 1 / _not_zero(1 + term * lower)
            upper = _not_zero(1 + term / upper)
            result *= upper * lower
        if abs(upper * lower - 1) < PRECISION:
            return result
    raise ArithmeticError(f"the incomplete beta function of {x}, {a}, {b} does not converge")


def _not_zero(value: float) -> float:
    return value if abs(value) > SMALLEST else SMALLEST
