"""A study's results as cells of tables: for people, and one flat mapping for each cell and metric."""

from __future__ import annotations

import math
from typing import Any

from vlframe.evaluation.controls import Control
from vlframe.studies.comparison import borders
from vlframe.studies.results import CellResult, Compared, StudyResults


def verdict_words(item: Compared, margin: float | None) -> str:
    """Say what may be said: better, worse, equal within the margin, or undecided and what would be needed."""
    if item.verdict is None:
        return ""
    if item.verdict.word == "equal":
        return f"equal within {margin:g}"
    if item.verdict.word != "undecided":
        return item.verdict.word
    if math.isnan(item.verdict.p):
        return "undecided"
    need = "more seeds" if item.verdict.needed is None else f"{item.verdict.needed} questions"
    least = f"would have seen {item.verdict.detectable:.3f}"
    return f"undecided ({least}{f', needs {need}' if margin is not None else ''})"


def why_not_done(cell: CellResult) -> str:
    """Say how the seeds that are not done stand, with the last line of their errors; those that are alike once."""
    said: dict[str, list[str]] = {}
    for run in cell.runs:
        if run.standing != "done":
            said.setdefault(f"{run.standing}: {run.why}".rstrip(": "), []).append(str(run.seed))
    return "; ".join(f"seed {', '.join(seeds)} {why}" for why, seeds in said.items())


def shown_results(results: StudyResults) -> list[dict[str, Any]]:
    """Return one row for each cell and metric. Columns in which nothing is known are left out."""
    rows = []
    for cell in results.cells:
        items = list(cell.compared.values()) or [Compared("")]
        rows += [_shown(cell, item, results) for item in items]
    empty = [name for name in rows[0] if all(row[name] in (None, "") for row in rows)] if rows else []
    return [{name: value for name, value in row.items() if name not in empty} for row in rows]


def _shown(cell: CellResult, item: Compared, results: StudyResults) -> dict[str, Any]:
    done = sum(run.standing == "done" for run in cell.runs)
    gain = item.difference
    return {
        "cell": f"{cell.label} (baseline)" if cell.label == results.baseline else cell.label,
        "seeds": f"{done} of {len(cell.runs)}",
        "metric": item.metric,
        "score": item.score and f"{item.score.value:.3f}",
        "95 %": item.score and borders(item.score, ".3f"),
        "n": item.n,
        "difference": gain and f"{gain.value:+.3f}",
        "95 % of it": gain and borders(gain.interval, "+.3f"),
        "95 % over items": item.over_items and borders(item.over_items.interval, "+.3f"),
        "p (Holm)": item.verdict and f"{item.verdict.p:.2g}",
        "verdict": verdict_words(item, results.margin),
        "tokens": cell.tokens,
        "trained": cell.trained and f"{cell.trained:,}",
        "seconds": None if cell.train_seconds is None else round(cell.train_seconds, 1),
        "state": cell.state,
    }


def flat_results(results: StudyResults) -> list[dict[str, Any]]:
    """Return plain cells, for CSV."""
    rows = []
    for cell in results.cells:
        for item in list(cell.compared.values()) or [Compared("")]:
            rows.append({**_of_cell(cell, results), **_of_metric(item, results)})
    return [{key: None if isinstance(value, float) and math.isnan(value) else value for key, value in row.items()}
            for row in rows]  # fmt: skip


def _of_cell(cell: CellResult, results: StudyResults) -> dict[str, Any]:
    controls = {f"control_{name}_{part}": value for name in results.controls
                for part, value in _of_control(cell.controls.get(name)).items()}  # fmt: skip
    axes = {f"axis_{name}": label for name, label in cell.axes.items()}
    return {
        "cell": cell.label, **axes, "baseline": cell.label == results.baseline, "state": cell.state,
        "seeds": len(cell.runs), "seeds_done": sum(run.standing == "done" for run in cell.runs),
        "tokens": cell.tokens, "parameters": cell.parameters, "trained": cell.trained,
        "train_seconds": cell.train_seconds, "samples_per_second": cell.samples_per_second, "unparsed": cell.unparsed,
        "n_asked": cell.asked, "peak_memory_gib": cell.peak_memory, "blind": cell.blind, "why": why_not_done(cell),
        **controls,
    }  # fmt: skip


def _of_control(item: Control | None) -> dict[str, Any]:
    """Return its result as columns; empty ones for a cell without it."""
    names = ("plain", "score", "difference", "low", "high", "n")
    return {name: item and getattr(item, name) for name in names}


def _of_metric(item: Compared, results: StudyResults) -> dict[str, Any]:
    gain, weights, verdict = item.difference, item.over_items, item.verdict
    return {
        "metric": item.metric, "score": item.score and item.score.value, "score_low": item.score and item.score.low,
        "score_high": item.score and item.score.high, "n": item.n,
        "difference": gain and gain.value, "difference_low": gain and gain.low, "difference_high": gain and gain.high,
        "items_low": weights and weights.low, "items_high": weights and weights.high,
        "p": gain and gain.p, "p_holm": verdict and verdict.p, "p_equal": verdict and verdict.p_equal,
        "p_mcnemar": item.discordant and item.discordant.p, "verdict": verdict and verdict.word,
        "detectable": verdict and verdict.detectable, "needed": verdict and verdict.needed,
    }  # fmt: skip
