"""Several benchmarks together, as Agarwal et al. (2021, "Deep RL at the edge of the statistical precipice") do it: the
interquartile mean, and how probable an improvement is.

A run is asked on every benchmark, so seeds are drawn anew as whole runs. M benchmarks, S seeds, R resamples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from vlframe.evaluation.statistics import RESAMPLES, Interval, score_interval, upper_share
from vlframe.evaluation.student import t_quantile

Table = Sequence[Sequence[float]]  # [benchmark][seed]


def interquartile_mean(scores: Table, confidence: float = 0.95) -> Interval:
    """Return the mean of the middle half of all scores, over benchmarks and seeds, with an interval over seeds. NaN
    bounds for one seed.
    """
    scores_MS = _table(scores)
    draws_RS = _draws(scores_MS.shape[1])
    drawn = _middle_mean(np.take(scores_MS, draws_RS, axis=1).swapaxes(0, 1).reshape(len(draws_RS), -1))
    return _around(float(_middle_mean(scores_MS.reshape(1, -1))[0]), drawn, scores_MS.shape[1] - 1, confidence)


def probability_of_improvement(first: Table, second: Table, confidence: float = 0.95) -> Interval:
    """Return the probability that a run of the second scores more than one of the first on a benchmark, averaged over
    benchmarks; equal scores count half. NaN bounds where a side has one seed.
    """
    first_MS, second_MS = _table(first), _table(second)
    if len(first_MS) != len(second_MS):
        raise ValueError(f"both need the same benchmarks, and there are {len(first_MS)} and {len(second_MS)}")
    wins_SS = _wins(first_MS, second_MS).mean(0)  # of each pair of seeds
    value = float(wins_SS.mean())
    if min(wins_SS.shape) < 2:
        return Interval(value, math.nan, math.nan)
    variance, freedom = _of_pairs(wins_SS)
    known = 0 < value < 1 and variance > 0  # all won, or all lost: nothing was seen of how far seeds differ
    as_sure_as = value * (1 - value) / variance if known else min(wins_SS.shape)
    return score_interval(value, as_sure_as, t_quantile(upper_share(confidence), freedom))


def _of_pairs(wins_SS: np.ndarray) -> tuple[float, float]:
    """Return the variance of a mean over pairs when the seeds of both sides are drawn anew (DeLong et al. 1988, less
    the chance in single pairs, which is in both terms), and its degrees of freedom (Satterthwaite).
    """
    rows, columns = wins_SS.shape
    of_row_S, of_column_S = wins_SS.mean(1), wins_SS.mean(0)
    left_SS = wins_SS - of_row_S[:, None] - of_column_S + wins_SS.mean()
    both = (rows - 1) * (columns - 1)
    terms = [
        (float(of_row_S.var(ddof=1)) / rows, rows - 1),
        (float(of_column_S.var(ddof=1)) / columns, columns - 1),
        (float((left_SS**2).sum()) / both / rows / columns, both),
    ]
    first, second, chance = (variance for variance, _ in terms)
    total = max(first + second - chance, first, second)
    spread = sum(variance**2 / freedom for variance, freedom in terms)
    return total, max(1.0, total**2 / spread) if spread else float(min(rows, columns) - 1)


def _wins(first_MS: np.ndarray, second_MS: np.ndarray) -> np.ndarray:
    ahead_MSS = second_MS[:, None, :] - first_MS[:, :, None]
    return (ahead_MSS > 0) + 0.5 * (ahead_MSS == 0)


def _middle_mean(scores_RN: np.ndarray) -> np.ndarray:
    """Return the mean without the lowest and the highest quarter, each rounded down to whole scores."""
    cut = scores_RN.shape[1] // 4
    return np.sort(scores_RN, axis=1)[:, cut : scores_RN.shape[1] - cut].mean(1)


def _draws(seeds: int) -> np.ndarray:
    """Draw the seeds of each resample: one fewer than there are, so that the variance is that of this many."""
    return np.random.default_rng(0).integers(seeds, size=(RESAMPLES, max(seeds - 1, 1)))


def _around(value: float, drawn_R: np.ndarray, freedom: int, confidence: float) -> Interval:
    """Return an interval by Student's t with the standard error of a bootstrap, whose percentiles over few seeds are
    too narrow.
    """
    if freedom < 1:
        return Interval(value, math.nan, math.nan)
    margin = t_quantile(upper_share(confidence), freedom) * float(drawn_R.std())
    return Interval(value, value - margin, value + margin)


def _table(scores: Table) -> np.ndarray:
    table_MS = np.array([list(row) for row in scores], dtype=float)
    if table_MS.ndim != 2 or not table_MS.size:
        raise ValueError("each benchmark needs a score of each seed, at least one")
    return table_MS
