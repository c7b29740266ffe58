"""The typed keys of a study's file: one experiment, what is varied, and how the cells are compared."""

# ruff: noqa: RUF009 (``key`` makes a dataclass field)

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vlframe.config.controls import CONTROLS
from vlframe.config.fields import key


def different(values: Sequence[Any]) -> str:
    """Say what is wrong with a list in which each item is to stand once."""
    twice = sorted({str(value) for value in values if list(values).count(value) > 1})
    return f"{', '.join(twice)} stands in it twice" if twice else "" if values else "it needs at least one"


@dataclass(frozen=True)
class BudgetConfig:
    """What a study may cost. Nothing new begins beyond it."""

    runs: int | None = key(None, "the most runs, cells times seeds; null = no limit", at_least=1)
    hours: float | None = key(None, "hours of all runs together, after which none begins; null = no limit", above=0)


@dataclass(frozen=True)
class StudyConfig:
    """The config of `vlframe study`."""

    name: str | None = key(None, "of the study; null = the file's, or its folder's for a file named study.yaml")
    folder: str | None = key(None, "where its ledger and its runs are; null = runs/studies/<name>")
    base: tuple[str, ...] = key((), "the experiment that is varied, as overrides: [experiment=quickstart]")
    axes: dict[str, dict[str, Any]] = key(
        dict, "what is varied: for each axis labels, and for each label an override, a list of them, or [] (the base)"
    )
    combine: str = key(
        "product",
        "how axes make cells: every combination; the first labels of all, the second, …; or each label by itself",
        choices=("product", "zip", "list"),
    )
    exclude: dict[str, str] = key(dict, "cells that are left out, by label (with * and ?), each with the reason")
    seeds: tuple[int, ...] = key((0,), "each cell is run with each", rule=different)
    baseline: str | None = key(None, "the cell that others are compared with, by its label; null = the first")
    benchmarks: tuple[str, ...] = key((), "what every cell is asked; none = the experiment's own")
    metrics: tuple[str, ...] = key(
        (), "what is compared, as in metrics.json; none = the primary metric of the first benchmark"
    )
    controls: tuple[str, ...] = key(
        ("blind", *CONTROLS),
        "what is taken away from the questions, to see whether scores use it (evaluation.controls, evaluation.blind), "
        "unless the base or an axis says so itself; [] = nothing",
        choices=("blind", *CONTROLS),
        items=True,
    )
    margin: float | None = key(
        None, "differences up to this are as good as none; null = no cell is called equal", above=0
    )
    budget: BudgetConfig = key(BudgetConfig, "what the study may cost")
