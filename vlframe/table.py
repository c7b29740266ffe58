"""Formats rows of values as tables: aligned text for the terminal, Markdown for a study's page."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

Rows = Sequence[Mapping[str, Any]]


def render(rows: Rows, columns: Sequence[str] | None = None) -> str:
    """Format rows as aligned columns, numbers to the right. ``columns`` selects and orders; None: all, as they
    first appear.
    """
    names, cells, widths, numeric = _layout(rows, columns)
    lines = [names, ["-" * width for width in widths], *cells]
    return "\n".join(
        "  ".join(_pad(*part) for part in zip(line, widths, numeric, strict=True)).rstrip() for line in lines
    )


def markdown(rows: Rows, columns: Sequence[str] | None = None) -> str:
    """Format rows as a Markdown table."""
    names, cells, widths, numeric = _layout(rows, columns, markup=True)
    rule = ["-" * (width - 1) + ":" if right else "-" * width for width, right in zip(widths, numeric, strict=True)]
    lines = [names, rule, *cells]
    return "\n".join(
        f"| {' | '.join(_pad(*part) for part in zip(line, widths, numeric, strict=True))} |" for line in lines
    )


def _layout(
    rows: Rows, columns: Sequence[str] | None, markup: bool = False
) -> tuple[list[str], list[list[str]], list[int], list[bool]]:
    """Return column names, cells, widths, and which columns hold numbers."""
    keys = list(columns) if columns is not None else list(dict.fromkeys(key for row in rows for key in row))
    cells = [[_escape(_text(row.get(key)), markup) for key in keys] for row in rows]
    names = [_escape(key, markup) for key in keys]
    widths = [max(3, *map(len, column)) for column in zip(names, *cells, strict=True)]
    numeric = [all(isinstance(row.get(key), int | float | None) for row in rows) for key in keys]
    return names, cells, widths, numeric


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _escape(text: str, markup: bool) -> str:
    text = " ".join(text.split())
    return text.replace("|", "\\|") if markup else text


def _pad(text: str, width: int, right: bool) -> str:
    return text.rjust(width) if right else text.ljust(width)
