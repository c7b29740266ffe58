"""Format the figures as the tables of the README, with the targets beside the measurements."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from startup import ALLOWED

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # experiments/
from study_page import table

TITLES = {
    "text_step": "training step, 2 text-only rows",
    "image_forward": "tower and connector, 1 image",
    "media_step": "training step, 1 video row and 1 image row",
    "evaluation": "{questions} multiple-choice questions, {clips} clips",
}


@dataclass(frozen=True)
class Target:
    """A bound on ours / reference for one figure; given as a factor, it is inverted."""

    case: str
    figure: str
    bound: float
    factor: bool

    @property
    def asked(self) -> str:
        return f"at least {1 / self.bound:g}x" if self.factor else f"at most {self.bound:g}"

    def found(self, case: dict[str, Any]) -> tuple[str, bool]:
        share = case["ours"][self.figure] / case["reference"][self.figure]
        return (f"{1 / share:.1f}x" if self.factor else f"{share:.2f}"), share <= self.bound


TARGETS = (
    Target("text_step", "cpu", 1 / 20, True),
    Target("image_forward", "cpu", 1 / 5, True),
    Target("media_step", "cpu", 0.7, False),
    Target("media_step", "needed", 0.8, False),
    Target("evaluation", "wall", 1 / 2, True),
)
FIGURES = {"wall": "wall s", "cpu": "CPU s", "needed": "peak MB", "peak": "peak MB with what glibc keeps"}


def tables(results: dict[str, Any]) -> str:
    """Return Markdown: both sides of every case, the targets, the command line, and the machine."""
    parts = [_cases(results["cases"]), _targets(results["cases"])] if results["cases"] else []
    parts += [_startup(results["startup"])] if results["startup"] else []
    return "\n\n".join([*parts, *_machines(results["machines"])])


def _cases(cases: dict[str, Any]) -> str:
    rows = []
    for name, case in ((name, cases[name]) for name in TITLES if name in cases):
        for figure, unit in FIGURES.items():
            if figure not in case["ours"]:
                continue
            ours, reference = case["ours"][figure], case["reference"][figure]
            digits = 3 if figure in ("wall", "cpu") else 0
            rows.append(
                [
                    TITLES[name].format(**case["size"]) if figure == "wall" else "",
                    unit,
                    f"{ours:.{digits}f}",
                    f"{reference:.{digits}f}",
                    f"{ours / reference:.3f}",
                    f"{case['repeats']}" if figure == "wall" else "",
                ]
            )
    return table(["case", "", "ours", "official style", "ours / official style", "repetitions"], rows)


def _targets(cases: dict[str, Any]) -> str:
    rows = []
    for target in TARGETS:
        if target.case in cases:
            case = cases[target.case]
            found, held = target.found(case)
            figure = "questions per second" if target.case == "evaluation" else FIGURES[target.figure]
            rows.append([TITLES[target.case].format(**case["size"]), figure, target.asked, found, _yes(held)])
    return table(["target", "figure", "asked", "found", "held"], rows)


def _startup(runs: dict[str, Any]) -> str:
    nothing = runs["python -c pass"]
    rows = []
    for name, figures in runs.items():
        above = figures["wall"] - nothing["wall"]
        bound = ALLOWED.get(name)
        asked, held = (f"{bound:g} s", _yes(above <= bound)) if bound else ("", "")
        rows.append([f"`{name}`", f"{figures['wall']:.3f}", f"{figures['cpu']:.3f}", f"{above:.3f}", asked, held])
    return table(["command", "wall s", "CPU s", "above python, wall s", "asked", "held"], rows)


def _machines(machines: dict[str, dict[str, str]]) -> Iterator[str]:
    """Describe the machine of each measurement; those of one command together."""
    together: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for name, machine in machines.items():
        together.setdefault(tuple(machine.items()), []).append(name)
    for machine, names in together.items():
        yield "\n".join([f"`{'`, `'.join(names)}`:", "", *(f"- {key}: {value}" for key, value in machine)])


def _yes(held: bool) -> str:
    return "yes" if held else "**no**"
