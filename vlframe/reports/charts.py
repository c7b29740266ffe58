"""The figures of a study's page: what plotly.js draws, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vlframe.evaluation.statistics import Interval
from vlframe.reports.evidence import SeedCurves
from vlframe.reports.figures import around, colour, dash
from vlframe.reports.front import Point
from vlframe.studies.curves import LOSS
from vlframe.studies.results import StudyResults

Chart = dict[str, Any]


def charts_of(
    results: StudyResults,
    points: Sequence[Point],
    categories: Mapping[str, Mapping[str, float | None]],
    curves: Sequence[SeedCurves],
) -> dict[str, Chart]:
    """Return every chart for which there is data, by the name of its place on the page."""
    charts = {"front": front_chart(results, points)} if points else {}
    for number, metric in enumerate(results.metrics):
        if chart := forest_chart(results, metric):
            charts[f"differences-{number}"] = chart
    if categories:
        charts["categories"] = heat_map(results, categories)
    for kind in dict.fromkeys(kind for item in curves for kind in item.curves):
        charts["curves" if kind == LOSS else f"curves-{results.metrics.index(kind.removeprefix('eval/'))}"] = (
            curves_chart(results, curves, kind)
        )
    return charts


def _layout(x: str, y: str, **more: Any) -> dict[str, Any]:
    axis = {"gridcolor": "#eeeeee", "zerolinecolor": "#bbbbbb", "automargin": True}
    return {
        "margin": {"l": 60, "r": 20, "t": 20, "b": 50}, "plot_bgcolor": "#ffffff", "paper_bgcolor": "#ffffff",
        "font": {"family": "system-ui, sans-serif", "size": 13}, "hovermode": "closest", "height": 420,
        "xaxis": {**axis, "title": {"text": x}}, "yaxis": {**axis, "title": {"text": y}}, **more,
    }  # fmt: skip


def _bars(scores: Sequence[Interval], axis: str) -> dict[str, Any]:
    below, above = zip(*map(around, scores), strict=True)
    return {f"error_{axis}": {"type": "data", "symmetric": False, "array": list(above), "arrayminus": list(below),
                              "thickness": 1.5, "width": 4}}  # fmt: skip


def _numbers(results: StudyResults) -> dict[str, int]:
    return {cell.label: number for number, cell in enumerate(results.cells)}


def front_chart(results: StudyResults, points: Sequence[Point]) -> Chart:
    """Draw the score against the tokens of a clip; dominated configurations are hollow, and say by what."""
    on = [point for point in points if not point.by]
    line = {"type": "scatter", "mode": "lines", "x": [p.tokens for p in on], "y": [p.score.value for p in on],
            "line": {"shape": "hv", "color": "#999999", "width": 1}, "hoverinfo": "skip"}  # fmt: skip
    numbers = _numbers(results)
    dots = [
        {
            "type": "scatter", "mode": "markers+text", "x": [point.tokens], "y": [point.score.value],
            "text": [point.label], "textposition": "top right", "name": point.label,
            "hovertext": [f"{point.label}: dominated by {', '.join(point.by)}" if point.by else point.label],
            "marker": {"size": 11, "color": colour(numbers[point.label]),
                       "symbol": "circle-open" if point.by else "circle"},
            **_bars([point.score], "y"),
        }
        for point in points
    ]  # fmt: skip
    return {"data": [line, *dots], "layout": _layout("tokens of a clip", results.metrics[0], showlegend=False)}


def forest_chart(results: StudyResults, metric: str) -> Chart | None:
    """Draw differences to the baseline: the thick line for these weights, the thin one for other seeds too."""
    found = [(cell.label, item) for cell in results.cells if (item := cell.compared.get(metric)) and item.difference]
    if not found:
        return None
    numbers, traces = _numbers(results), []
    for label, item in found:
        shade, whole, weights = colour(numbers[label]), item.difference, item.over_items
        assert whole is not None
        if weights is not None and weights.low == weights.low:
            traces.append({"type": "scatter", "mode": "lines", "x": [weights.low, weights.high], "y": [label, label],
                           "line": {"color": shade, "width": 8}, "opacity": 0.35, "hoverinfo": "x"})  # fmt: skip
        traces.append({
            "type": "scatter", "mode": "markers", "x": [whole.value], "y": [label], "name": label,
            "marker": {"size": 10, "color": shade}, **_bars([whole.interval], "x"),
        })  # fmt: skip
    band = [] if results.margin is None else [
        {"type": "rect", "xref": "x", "yref": "paper", "x0": -results.margin, "x1": results.margin, "y0": 0, "y1": 1,
         "fillcolor": "#cccccc", "opacity": 0.35, "line": {"width": 0}, "layer": "below"}
    ]  # fmt: skip
    layout = _layout(f"{metric}: difference to {results.baseline}", "", shapes=band, showlegend=False,
                     height=120 + 36 * len(found))  # fmt: skip
    layout["yaxis"] |= {"autorange": "reversed", "type": "category"}
    layout["xaxis"] |= {"zerolinecolor": "#555555"}
    return {"data": traces, "layout": layout}


def heat_map(results: StudyResults, categories: Mapping[str, Mapping[str, float | None]]) -> Chart:
    """Scores of every cell by category, the mean over seeds."""
    labels = [cell.label for cell in results.cells if any(row[cell.label] is not None for row in categories.values())]
    values = [[row[label] for label in labels] for row in categories.values()]
    written = [["" if value is None else f"{value:.2f}" for value in row] for row in values]
    layout = _layout("", "", height=140 + 34 * len(values))
    layout["xaxis"] |= {"type": "category"}
    layout["yaxis"] |= {"autorange": "reversed", "type": "category"}
    trace = {"type": "heatmap", "x": labels, "y": list(categories), "z": values, "text": written,
             "texttemplate": "%{text}", "colorscale": "Viridis", "zmin": 0, "zmax": _most(values),
             "hoverongaps": False}  # fmt: skip
    return {"data": [trace], "layout": layout}


def _most(values: Sequence[Sequence[float | None]]) -> float:
    return max([1.0, *(value for row in values for value in row if value is not None)])


def curves_chart(results: StudyResults, curves: Sequence[SeedCurves], kind: str) -> Chart:
    """Draw curves: a colour for each cell, a line for each seed; a click in the legend shows or hides a cell."""
    numbers, named, traces = _numbers(results), set(), []
    for item in (one for one in curves if kind in one.curves):
        number = numbers[item.cell]
        traces.append({
            "type": "scatter", "mode": "lines", "x": [step for step, _ in item.curves[kind]],
            "y": [value for _, value in item.curves[kind]], "name": item.cell, "legendgroup": item.cell,
            "showlegend": item.cell not in named, "hovertext": f"{item.cell}, seed {item.seed}",
            "line": {"color": colour(number), "dash": dash(number), "width": 1.5},
        })  # fmt: skip
        named.add(item.cell)
    what = "loss" if kind == LOSS else kind.removeprefix("eval/")
    return {"data": traces, "layout": _layout("optimizer step", what, showlegend=True)}
