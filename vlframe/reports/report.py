"""Writes a study's report: tables, figures, and one page that opens without a network.

The same results give the same bytes, so that two reports can be compared.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vlframe.errors import ConfigError
from vlframe.reports.charts import charts_of
from vlframe.reports.evidence import Evidence, read_evidence
from vlframe.reports.figures import write_figures
from vlframe.reports.front import front, front_words
from vlframe.reports.media import MediaFolder
from vlframe.reports.predictions import Browsed, browse
from vlframe.reports.tables import control_rows, control_sentences, csv_text, latex_table, rows_of
from vlframe.runs.folder import write_text
from vlframe.studies.resolved import Planned
from vlframe.studies.results import StudyResults, plain_values, study_results
from vlframe.studies.study import Study
from vlframe.table import markdown

TEMPLATES = Path(__file__).parent / "templates"
MEGABYTE = 2**20
PANEL = (
    "The score with something taken away and, in brackets, the difference that it makes, with its 95 % interval for "
    "these weights on other clips, on the questions that are touched by it. Texts that are no answer count as the "
    "worst value here, too: a fall without media may be that the model then says nothing that can be read."
)


@dataclass(frozen=True)
class Limits:
    """The most that the page takes along."""

    questions: int = 200
    media_mb: int = 64


def write_report(study: Study, planned: Sequence[Planned], limits: Limits | None = None) -> Path:
    """Write ``report/`` in the study's folder; return the folder. ConfigError: nothing is done yet."""
    limits = limits or Limits()
    results = study_results(study, planned)
    if not results.metrics:
        raise ConfigError(
            f"no run of {study.file} is done, so there is nothing to report; vlframe study run {study.file}"
        )
    folder = study.folder / "report"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder / "media", ignore_errors=True)
    evidence = read_evidence(results, planned)
    points = front(results, results.metrics[0])
    browsed = browse(evidence, MediaFolder(folder / "media", limits.media_mb * MEGABYTE), limits.questions)
    figures = write_figures(folder, results, points, evidence.curves)
    write_text(folder / "table.csv", csv_text(results))
    write_text(folder / "table.tex", _latex(results))
    write_text(folder / "README.md", _readme(results, front_words(points), figures))
    write_text(folder / "index.html", _page(results, evidence, browsed, charts_of(
        results, points, evidence.categories, evidence.curves), front_words(points)))  # fmt: skip
    return folder


def _tables(results: StudyResults) -> list[tuple[str, list[dict[str, str]]]]:
    """Return a table for each metric; the cost of a cell is in the first."""
    return [(metric, rows_of(results, metric, cost=not number)) for number, metric in enumerate(results.metrics)]


def _latex(results: StudyResults) -> str:
    return "\n".join(
        latex_table(rows, f"{results.name}: {metric}", f"{results.name}-{number}")
        for number, (metric, rows) in enumerate(_tables(results))
    )


def _readme(results: StudyResults, said: str, figures: Sequence[str]) -> str:
    parts = [f"# {results.name}", *report_text(results, said, figures)]
    parts.append("The page with answers and clips is [index.html](index.html); unrounded figures are in table.csv.")
    return "\n\n".join(part for part in parts if part) + "\n"


def report_text(results: StudyResults, said: str, figures: Sequence[str] = ()) -> list[str]:
    """Return a study's text in Markdown, by paragraph: tables, what the scores use, what is dominated, notes."""
    parts = [_meaning(results)]
    parts += [f"## {metric}\n\n{markdown(rows)}" for metric, rows in _tables(results)]
    if panel := control_rows(results):
        words = "\n".join(f"* {label}: {line}" for label, lines in control_sentences(results) for line in lines)
        parts.append(f"## What the scores use\n\n{PANEL}\n\n{markdown(panel)}\n\n{words}")
    parts += [said, *(f"![{name}]({name}.png)" for name in figures)]
    return parts + (["\n".join(f"* {note}" for note in results.notes)] if results.notes else [])


def _meaning(results: StudyResults) -> str:
    """Explain in words what the tables' numbers are."""
    margin = f" Differences up to {results.margin:g} are as good as none." if results.margin is not None else ""
    return (
        f"Scores are means over seeds and questions with 95 % intervals; differences are to {results.baseline}, on the "
        f"same questions, over clips and, where both sides have several, seeds; p is Holm's over the whole study."
        f"{margin}"
    )


def _page(
    results: StudyResults, evidence: Evidence, browsed: Browsed, charts: dict[str, Any], said: str
) -> str:  # fmt: skip
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from plotly.offline import get_plotlyjs

    pages = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    return pages.get_template("page.html").render(
        results=results,
        meaning=_meaning(results),
        tables=_tables(results),
        front=said,
        charts=charts,
        panel=control_rows(results),
        panel_words=control_sentences(results),
        panel_meaning=PANEL,
        changed=evidence.changed,
        browsed=browsed,
        data=plain_values({"charts": charts, "browsed": asdict(browsed)}),
        style=(TEMPLATES / "page.css").read_text(encoding="utf-8"),
        script=(TEMPLATES / "page.js").read_text(encoding="utf-8"),
        plotly=get_plotlyjs(),
    )
