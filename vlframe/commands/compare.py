"""``vlframe compare``: compare runs with the first one on the same questions, averaged over seeds."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vlframe.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from vlframe.studies.comparison import Comparison

FORMATS = ("table", "markdown", "csv", "json")
USAGE = (("compare runs/quickstart", "one table: scores, differences with intervals, tokens, seconds"),)
HELP = f"""\
vlframe compare <run, sweep or folder> … [format={"|".join(FORMATS)}]

  vlframe compare runs/quickstart                       every run below it
  vlframe compare runs/quickstart/<id> runs/mine/<id>   these two; differences are to the first
  vlframe compare runs/sweeps/<time> format=csv         the jobs of a sweep (-m), failed ones included
  vlframe compare runs/quickstart/<id> runs/quickstart/<id>/evaluations    a run and its later evaluations

Runs that differ only in their seed share a row. Exit code: 0, or 2 if there is nothing to compare.
"""


def main(words: list[str]) -> int:
    if "--help" in words or "-h" in words:
        print(HELP, end="")
        return 0
    paths = [word for word in words if "=" not in word or word.startswith("/") or Path(word).exists()]
    form = _format([word for word in words if word not in paths])
    if flags := [path for path in paths if path.startswith("-")]:
        hint = "; format=json gives JSON" if "--json" in flags else ""
        raise ConfigError(f"vlframe compare does not know {', '.join(flags)}{hint}; see vlframe compare --help")
    if not paths:
        raise ConfigError("vlframe compare needs run folders, or a folder of runs, like runs/quickstart")
    print(written(compare(paths), form))
    return 0


def compare(paths: Sequence[str | Path]) -> Comparison:
    """Compare the runs in these folders."""
    from vlframe.studies.comparison import compare
    from vlframe.studies.recorded import recorded_runs

    return compare(recorded_runs(paths))


def show_sweep(folder: Path) -> None:
    """Print the table of a sweep's runs, at the end of ``-m``."""
    print(f"\n{written(compare([folder]), 'table')}\n\nagain: vlframe compare {folder}", flush=True)


def written(comparison: Comparison, form: str) -> str:
    from vlframe.studies.comparison import as_data, flat_rows, shown_rows
    from vlframe.table import markdown, render

    if form == "json":
        return json.dumps(as_data(comparison), indent=1, ensure_ascii=False)
    if form == "csv":
        rows, text = flat_rows(comparison), io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue().rstrip("\n")
    table = (markdown if form == "markdown" else render)(shown_rows(comparison))
    bullet = "* " if form == "markdown" else ""
    return "\n".join([table, "", *(f"{bullet}{note}" for note in comparison.notes)]).rstrip()


def _format(words: Sequence[str]) -> str:
    form = "table"
    for word in words:
        key, _, form = word.partition("=")
        if key != "format":
            raise ConfigError(f"vlframe compare knows the key format, not {key!r}{did_you_mean(key, ['format'])}")
        if form not in FORMATS:
            raise ConfigError(f"format is {form!r}; it can be {', '.join(FORMATS)}")
    return form
