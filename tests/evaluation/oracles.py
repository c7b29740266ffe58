"""What scipy and statsmodels give for the inputs of our tests, as JSON. They are no requirement of the tests: Lightning
imports scipy where there is one, in every process.

    uv run --no-project --with scipy==1.17.1 --with statsmodels==0.15.0 \
        python tests/evaluation/oracles.py > tests/evaluation/oracles.json
"""

import json

import numpy as np
import scipy
import statsmodels
import statsmodels.api as sm
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import DescrStatsW

TAILS = [(0.0, 3), (0.5, 1), (1.96, 1000), (2.5, 2.7), (-1.2, 7), (12.0, 4), (9.0, 150), (40.0, 60), (1e-3, 0.6)]
QUANTILES = [(0.975, 2), (0.975, 11.3), (0.9996, 4.5), (0.8, 59), (0.95, 1.2), (0.025, 3), (0.99999, 250)]


def clustered() -> dict:
    draws = np.random.default_rng(4)
    clips = draws.integers(12, size=70)
    values = (draws.normal(size=12)[clips] + draws.normal(size=70)).round(3)
    fit = sm.OLS(values, np.ones(70)).fit(cov_type="cluster", cov_kwds={"groups": clips}, use_t=True)
    return {
        "clips": clips.tolist(), "values": values.tolist(), "mean": fit.params[0], "error": fit.bse[0],
        "p": fit.pvalues[0], "interval": fit.conf_int()[0].tolist(),
    }  # fmt: skip


def equivalent() -> dict:
    gains = np.random.default_rng(6).normal(0.01, 0.05, 40).round(3)
    described = DescrStatsW(gains)
    margins = [0.005, 0.02, 0.03, 0.05]
    return {
        "mean": described.mean, "error": described.std_mean, "freedom": 39, "margins": margins,
        "p": [described.ttost_mean(-margin, margin)[0] for margin in margins],
    }  # fmt: skip


def main() -> None:
    ps = [0.01, 0.04, 0.03, 0.005, 0.04, 1.0, 0.2]
    scores = np.random.default_rng(8).uniform(size=(3, 5)).round(2)
    first, second = [0.5, 0.6, 0.7, 0.7], [0.6, 0.7, 0.8]
    found = {
        "versions": {"scipy": scipy.__version__, "statsmodels": statsmodels.__version__},
        "tails": [[t, freedom, stats.t.sf(t, freedom)] for t, freedom in TAILS],
        "quantiles": [[p, freedom, stats.t.ppf(p, freedom)] for p, freedom in QUANTILES],
        "clustered": clustered(),
        "holm": {"p": ps, "corrected": multipletests(ps, method="holm")[1].tolist()},
        "equivalence": equivalent(),
        "mcnemar": [[b, c, mcnemar([[5, b], [c, 5]], exact=True).pvalue] for b, c in ((9, 1), (4, 4), (0, 12))],
        "detectable": [[n, TTestPower().solve_power(None, n, 0.05, 0.8)] for n in (30, 100, 1000)],
        "interquartile_mean": {"scores": scores.tolist(), "value": stats.trim_mean(scores, 0.25, axis=None)},
        "improvement": {
            "first": first, "second": second,
            "value": stats.mannwhitneyu(second, first).statistic / len(first) / len(second),
        },
    }  # fmt: skip
    print(json.dumps(found, indent=1, default=float))


if __name__ == "__main__":
    main()
