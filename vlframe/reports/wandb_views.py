"""What a study's saved view and its report on Weights & Biases hold, as plain values: made offline, and compared there.

A panel is ``{"panel": kind, …}``; ``wandb_saved`` turns each kind into W&B's own. Metrics are keys of a run's summary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vlframe.studies.results import StudyResults

Spec = dict[str, Any]

TOKENS = "tokens_per_clip"  # of the config
COST = {
    "eval/train_seconds": "training, seconds", "eval/samples_per_second": "evaluation, samples a second",
    "train/peak_memory_gib": "peak memory, GiB", "eval/parameters": "parameters",
}  # fmt: skip


def workspace_spec(results: StudyResults, axes: Sequence[str], group: str) -> Spec:
    """Return a saved view of a study's runs, which are a group there: Scores, Cost, Curves, Predictions."""
    return {
        "kind": "workspace", "name": results.name, "runs": _runs(results, axes, group),
        "sections": [
            {"name": "Scores", "panels": _scores(results, axes)},
            {"name": "Cost", "panels": _cost()},
            {"name": "Curves", "panels": _curves(results)},
            {"name": "Predictions", "panels": [{"panel": "table", "table": "predictions"}]},
        ],
    }  # fmt: skip


def report_spec(results: StudyResults, axes: Sequence[str], group: str, text: Sequence[str]) -> Spec:
    """Return a report: a study's text, Markdown by paragraph, followed by the panels of its saved view."""
    view = workspace_spec(results, axes, group)
    return {
        "kind": "report", "title": results.name, "description": f"differences to {results.baseline}",
        "runs": view["runs"],
        "blocks": [*({"markdown": paragraph} for paragraph in text if paragraph), *view["sections"]],
    }  # fmt: skip


def _runs(results: StudyResults, axes: Sequence[str], group: str) -> Mapping[str, Any]:
    """Say which runs are shown: one cell is a group of seeds, and columns name the axes and what they came to."""
    config = [f"axes.{axis}" for axis in axes]
    return {"group": group, "by": "JobType", "config": [*config, TOKENS], "summary": _keys(results)}


def _keys(results: StudyResults) -> list[str]:
    return [f"eval/{metric}" for metric in results.metrics]


def _scores(results: StudyResults, axes: Sequence[str]) -> list[Spec]:
    first, config = _keys(results)[0], [f"axes.{axis}" for axis in axes]
    return [
        *({"panel": "bars", "title": f"{metric} (mean and range over seeds)", "metric": f"eval/{metric}"}
          for metric in results.metrics),
        {"panel": "scatter", "title": f"{results.metrics[0]} and tokens of a clip", "config": TOKENS, "metric": first},
        {"panel": "parallel", "title": "axes, tokens and scores", "config": [*config, TOKENS],
         "metrics": _keys(results)},
    ]  # fmt: skip


def _cost() -> list[Spec]:
    bars = [{"panel": "bars", "title": title, "metric": key} for key, title in COST.items()]
    return [*bars, {"panel": "comparer"}]


def _curves(results: StudyResults) -> list[Spec]:
    named = {"train/loss": "loss", **{f"eval/{metric}": metric for metric in results.metrics}}
    return [{"panel": "lines", "title": title, "metric": key} for key, title in named.items()]
