"""The figures of a study for a paper: the same bytes for the same results, as PNG and PDF."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlframe.evaluation.statistics import Interval
from vlframe.reports.front import Point
from vlframe.studies.curves import LOSS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from vlframe.reports.evidence import SeedCurves
    from vlframe.studies.results import StudyResults

# Okabe and Ito's, told apart by every eye; then again, with other strokes.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999933")
DASHES = ("solid", "dash", "dot", "dashdot")


def colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def dash(number: int) -> str:
    return DASHES[number // len(COLOURS) % len(DASHES)]


def write_figures(
    folder: Path, results: StudyResults, points: Sequence[Point], curves: Sequence[SeedCurves]
) -> list[str]:
    """Write what there is something to draw of; return the names of the files, without their endings."""
    drawn = {
        "front": front_figure(results, points) if points else None,
        "differences": forest_figure(results),
        "curves": curves_figure(results, curves) if curves else None,
    }
    for name, figure in drawn.items():
        if figure is not None:
            figure.savefig(folder / f"{name}.png", dpi=160, metadata={"Software": None})
            figure.savefig(folder / f"{name}.pdf", metadata={"CreationDate": None, "Producer": None, "Creator": None})
    return [name for name, figure in drawn.items() if figure is not None]


def _figure(width: float, height: float, columns: int = 1) -> tuple[Figure, list[Any]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, columns, squeeze=False)[0]
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
    return figure, list(axes)


def around(score: Interval) -> tuple[float, float]:
    """Return how far an interval extends below and above its value; 0 where that is unknown."""
    low, high = score.value - score.low, score.high - score.value
    return (low if low > 0 else 0.0), (high if high > 0 else 0.0)


def front_figure(results: StudyResults, points: Sequence[Point]) -> Figure:
    """Draw the score against the tokens of a clip; dominated configurations are hollow."""
    figure, (axes,) = _figure(5.6, 4.0)
    numbers = {cell.label: number for number, cell in enumerate(results.cells)}
    on = [point for point in points if not point.by]
    axes.step([p.tokens for p in on], [p.score.value for p in on], where="post", color="#999999", lw=1, zorder=1)
    for point in points:
        shade = colour(numbers[point.label])
        low, high = around(point.score)
        axes.errorbar(point.tokens, point.score.value, yerr=[[low], [high]], fmt="o", ms=6, capsize=2, lw=1,
                      color=shade, mfc="white" if point.by else shade)  # fmt: skip
        axes.annotate(point.label, (point.tokens, point.score.value), xytext=(5, 4), textcoords="offset points",
                      fontsize=7)  # fmt: skip
    axes.set_xlabel("tokens of a clip (hollow: dominated)")
    axes.set_ylabel(f"{results.metrics[0]} (95 %)")
    return figure


def forest_figure(results: StudyResults) -> Figure | None:
    """Draw differences to the baseline by metric: thick for these weights, thin for other seeds too; the margin is
    grey.
    """
    cells = [cell for cell in results.cells if any(item.difference for item in cell.compared.values())]
    if not cells:
        return None
    columns = len(results.metrics)
    figure, every = _figure(2.2 + 2.6 * columns, 1.2 + 0.35 * len(cells), columns)
    for axes, metric in zip(every, results.metrics, strict=True):
        axes.axvline(0, color="#555555", lw=0.8)
        if results.margin is not None:
            axes.axvspan(-results.margin, results.margin, color="#dddddd", zorder=0)
        for row, cell in enumerate(cells):
            item = cell.compared[metric]
            if item.difference is None:
                continue
            shade = colour([one.label for one in results.cells].index(cell.label))
            axes.plot([item.difference.low, item.difference.high], [row, row], color=shade, lw=1)
            if item.over_items is not None:
                axes.plot([item.over_items.low, item.over_items.high], [row, row], color=shade, lw=3, alpha=0.45)
            axes.plot([item.difference.value], [row], "o", color=shade, ms=5)
        axes.set_yticks(range(len(cells)), [cell.label for cell in cells] if axes is every[0] else [""] * len(cells))
        axes.invert_yaxis()
        axes.set_title(metric, fontsize=9)
        axes.set_xlabel(f"difference to {results.baseline}", fontsize=8)
    return figure


def curves_figure(results: StudyResults, curves: Sequence[SeedCurves]) -> Figure:
    """Draw what was logged in training: a colour for each cell, a line for each seed."""
    kinds = list(dict.fromkeys(kind for item in curves for kind in item.curves))
    figure, every = _figure(5.2 * len(kinds), 3.6, len(kinds))
    numbers = {cell.label: number for number, cell in enumerate(results.cells)}
    styles = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-."}
    for axes, kind in zip(every, kinds, strict=True):
        named: set[str] = set()
        for item in (one for one in curves if kind in one.curves):
            steps, values = zip(*item.curves[kind], strict=True)
            number = numbers[item.cell]
            axes.plot(steps, values, color=colour(number), ls=styles[dash(number)], lw=0.9, alpha=0.8,
                      label=None if item.cell in named else item.cell)  # fmt: skip
            named.add(item.cell)
        axes.set_xlabel("optimizer step")
        axes.set_ylabel("loss" if kind == LOSS else kind.removeprefix("eval/"))
        axes.legend(fontsize=7, frameon=False)
    return figure
