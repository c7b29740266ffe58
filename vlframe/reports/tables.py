"""A study's table as a reader gets it: the same cells in Markdown, LaTeX and the page."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

from vlframe.evaluation.controls import Control, control_words
from vlframe.evaluation.statistics import Interval
from vlframe.studies.comparison import borders
from vlframe.studies.results import CellResult, Compared, StudyResults
from vlframe.studies.table import flat_results, verdict_words, why_not_done

LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
        "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "–": "--", "<": r"\textless{}", ">": r"\textgreater{}",
    }
)  # fmt: skip


def rows_of(results: StudyResults, metric: str, *, cost: bool = True) -> list[dict[str, str]]:
    """Return one row for each cell by one metric, including failed and excluded ones, all cells as text and the same
    columns in each. Columns in which nothing is known are left out. ``cost`` adds what does not depend on the metric.
    """
    rows = [_row(cell, cell.compared.get(metric, Compared(metric)), results, cost) for cell in results.cells]
    rows += [{"cell": label, "state": f"excluded: {reason}"} for label, reason in results.excluded.items()]
    names = list(dict.fromkeys(name for row in rows for name in row))
    known = [name for name in names if any(row.get(name) for row in rows)]
    return [{name: row.get(name, "") for name in known} for row in rows]


def _row(cell: CellResult, item: Compared, results: StudyResults, cost: bool) -> dict[str, str]:
    done = sum(run.standing == "done" for run in cell.runs)
    row = {
        "cell": f"{cell.label} (baseline)" if cell.label == results.baseline else cell.label,
        "seeds": f"{done} of {len(cell.runs)}",
        "score": score_words(item.score),
        "difference": difference_words(item),
        "verdict": verdict_words(item, results.margin) or ("" if cell.state == "done" else cell.state),
        "p (Holm)": f"{item.verdict.p:.2g}" if item.verdict else "",
        "n": f"{item.n}" if item.n else "",
    }
    more = {
        "asked": f"{cell.n}/{cell.asked}" if cell.asked else "",
        "unparsed": _number(cell.unparsed, ".1%"),
        "tokens": _number(cell.tokens, ","),
        "trained": _number(cell.trained, ","),
        "training s": _number(cell.train_seconds, ",.1f"),
        "samples/s": _number(cell.samples_per_second, ".1f"),
        "peak GiB": _number(cell.peak_memory, ".2f"),
    }
    return {**row, **(more if cost else {}), "state": why_not_done(cell) or "done"}


def control_rows(results: StudyResults) -> list[dict[str, str]]:
    """Return one row for each cell that was asked under a control: the score with each, and the difference that it
    makes.
    """
    return [
        {"cell": cell.label, **{name: _taken(cell.controls.get(name)) for name in results.controls}}
        for cell in results.cells
        if cell.controls
    ]


def control_sentences(results: StudyResults) -> list[tuple[str, list[str]]]:
    """Say for each cell whether its score uses what each control takes away."""
    return [
        (cell.label, [control_words(name, item) for name, item in cell.controls.items()])
        for cell in results.cells
        if cell.controls
    ]


def _taken(item: Control | None) -> str:
    if item is None:
        return ""
    inside = borders(Interval(item.difference, item.low, item.high), "+.3f")
    return f"{item.score:.3f} ({item.difference:+.3f}{f'; {inside}' if inside else ''})"


def score_words(score: Interval | None) -> str:
    """Format a score with its interval."""
    if score is None:
        return ""
    inside = borders(score, ".3f")
    return f"{score.value:.3f} ({inside.replace('-', '–')})" if inside else f"{score.value:.3f}"


def difference_words(item: Compared) -> str:
    """Format a difference to the baseline with its interval."""
    if item.difference is None:
        return ""
    inside = borders(item.difference.interval, "+.3f")
    return f"{item.difference.value:+.3f} ({inside})" if inside else f"{item.difference.value:+.3f}"


def _number(value: float | None, form: str) -> str:
    return "" if value is None or value != value else f"{value:{form}}"


def csv_text(results: StudyResults) -> str:
    """Everything that the tables show, unrounded: a line for each cell and metric."""
    rows, text = flat_results(results), io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def latex_table(rows: Sequence[Mapping[str, Any]], caption: str, label: str) -> str:
    r"""Write a table for ``\usepackage{booktabs}``: the first column to the left, the others to the right, sentences
    left.
    """
    names = [name for name in rows[0] if name != "state"] if rows else []
    sides = "".join("l" if name in ("cell", "verdict") else "r" for name in names)
    lines = [" & ".join(_latex(row[name]) or "--" for name in names) + r" \\" for row in rows]
    return "\n".join([
        r"\begin{table}", r"\centering", rf"\caption{{{_latex(caption)}}}", rf"\label{{tab:{label}}}",
        rf"\begin{{tabular}}{{{sides}}}", r"\toprule", " & ".join(map(_latex, names)) + r" \\", r"\midrule", *lines,
        r"\bottomrule", r"\end{tabular}", r"\end{table}", "",
    ])  # fmt: skip


def _latex(text: Any) -> str:
    return re.sub(r"(?<!\w)-(?=\d)", "$-$", str(text).translate(LATEX))
