"""What was logged during a run: the rows of metrics.csv, read back as numbers."""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Sequence
from pathlib import Path

Rows = list[dict[str, float]]
Curve = list[tuple[float, float]]  # step, value

PEAK, LOSS = "train/peak_memory_gib", "train/loss"


def read_history(file: Path) -> Rows:
    """Return the rows without their empty cells; none if there is no file. A torn last line is left out."""
    if not file.is_file():
        return []
    whole, newline, _ = file.read_text(encoding="utf-8").rpartition("\n")
    rows = csv.DictReader((whole + newline).splitlines())
    return [{key: float(cell) for key, cell in row.items() if key and cell} for row in rows]


def curve(rows: Rows, key: str, most: int = 400) -> Curve:
    """Return the finite values of one column by step; of more than ``most``, the means of as many stretches."""
    points = [(row["step"], row[key]) for row in rows if "step" in row and math.isfinite(row.get(key, math.nan))]
    if len(points) <= most:
        return points
    bounds = [round(number * len(points) / most) for number in range(most + 1)]
    return [_mean(points[low:high]) for low, high in itertools.pairwise(bounds)]


def peak_memory(rows: Rows) -> float | None:
    """Return the most memory that training took, in GiB: of the GPU if there was one, otherwise of the process."""
    return max((row[PEAK] for row in rows if PEAK in row), default=None)


def _mean(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return points[-1][0], sum(value for _, value in points) / len(points)
