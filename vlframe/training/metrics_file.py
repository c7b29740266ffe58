"""metrics.csv: every logged scalar, one row per step, independent of other loggers."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from vlframe.runs.folder import write_text


class MetricsFile(Logger):
    """A CSV that grows by rows, and by columns when a new scalar appears.

    A resumed run removes the rows after its checkpoint, so that no step is in the file twice.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.rows: list[dict[str, str]] = []
        self.columns: list[str] = ["step"]
        if path.is_file():
            # A killed process may have left an incomplete row at the end.
            whole, newline, _ = path.read_text(encoding="utf-8").rpartition("\n")
            self.rows = list(csv.DictReader((whole + newline).splitlines()))
            self.columns = list(self.rows[0]) if self.rows else ["step"]

    @property
    def name(self) -> str:
        return "metrics"

    @property
    def version(self) -> str:
        return ""

    def history(self) -> list[dict[str, float]]:
        """Return the rows as numbers, without empty cells."""
        return [{key: float(cell) for key, cell in row.items() if cell} for row in self.rows]

    @rank_zero_only
    def cut_after(self, step: int) -> None:
        """Remove the rows of later steps."""
        self.rows = [row for row in self.rows if int(float(row["step"])) <= step]
        self._write_all()

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the config is in config.yaml."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        row = {"step": str(step or 0)} | {key: repr(float(value)) for key, value in metrics.items() if key != "epoch"}
        new = [key for key in row if key not in self.columns]
        self.columns += new
        if self.rows and self.rows[-1]["step"] == row["step"]:
            self.rows[-1] |= row
            self._write_all()
            return
        self.rows.append(row)
        if new:
            self._write_all()
        else:
            with open(self.path, "a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, self.columns, restval="", lineterminator="\n").writerow(row)

    def _write_all(self) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_text(self.path, text.getvalue())
