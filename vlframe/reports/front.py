"""Which configurations are dominated: another one is no worse in score and tokens, and better in one."""

from __future__ import annotations

from dataclasses import dataclass

from vlframe.evaluation.statistics import Interval
from vlframe.studies.results import StudyResults


@dataclass(frozen=True)
class Point:
    """A cell by its tokens of a clip and its score. ``by`` are the cells that dominate it: no worse in both, and better
    in one."""

    label: str
    tokens: int
    score: Interval
    by: tuple[str, ...] = ()


def front(results: StudyResults, metric: str) -> list[Point]:
    """Return every cell whose score and tokens are known, by tokens. The scores themselves are compared, not their
    intervals: their uncertainty is in the differences.
    """
    known = [
        (cell.label, cell.tokens, item.score)
        for cell in results.cells
        if cell.tokens is not None and (item := cell.compared.get(metric)) is not None and item.score is not None
    ]
    points = [
        Point(label, tokens, score, tuple(
            other for other, fewer, better in known
            if fewer <= tokens and better.value >= score.value and (fewer < tokens or better.value > score.value)
        ))
        for label, tokens, score in known
    ]  # fmt: skip
    return sorted(points, key=lambda point: (point.tokens, -point.score.value, point.label))


def front_words(points: list[Point]) -> str:
    """Name the configurations on the front, and by what each of the others is dominated."""
    on = ", ".join(point.label for point in points if not point.by)
    off = [f"{point.label} (by {', '.join(point.by)})" for point in points if point.by]
    said = f"On the front: {on}. " if on else ""
    return said + (f"Dominated: {'; '.join(off)}." if off else "None is dominated." if on else "")
