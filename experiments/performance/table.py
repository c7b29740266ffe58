"""Figures to the tables of the README, with what the study asks for beside what was found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from startup import ALLOWED

TITLES = {
    "text_step": "training step, 2 text-only rows",
    "image_forward": "tower and connector, 1 image",
    "media_step": "training step, 1 video row and 1 image row",
    "evaluation": "{questions} multiple-choice questions, {clips} clips",
}
MARKS = ("<!-- measured: begin -->", "<!-- measured: end -->")


@dataclass(frozen=True)
class Target:
    """A bound on ours / reference of one figure; as a factor it reads the other way round."""

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
    """Markdown: both sides of every case, the targets, the command line, and what it was measured on."""
    parts = [_cases(results["cases"]), _targets(results["cases"])] if results["cases"] else []
    parts += [_startup(results["startup"])] if results["startup"] else []
    return "\n\n".join([*parts, *_machines(results["machines"])])


def write_readme(path: Path, text: str, marks: tuple[str, str] = MARKS) -> None:
    """Replace what stands between the markers."""
    start, end = marks
    readme = path.read_text(encoding="utf-8")
    before, after = readme.split(start)[0], readme.split(end)[1]
    path.write_text(f"{before}{start}\n{text}\n{end}{after}", encoding="utf-8")


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
    return _markdown(["case", "", "ours", "official style", "ours / official style", "repetitions"], rows)


def _targets(cases: dict[str, Any]) -> str:
    rows = []
    for target in TARGETS:
        if target.case in cases:
            case = cases[target.case]
            found, held = target.found(case)
            figure = "questions per second" if target.case == "evaluation" else FIGURES[target.figure]
            rows.append([TITLES[target.case].format(**case["size"]), figure, target.asked, found, _yes(held)])
    return _markdown(["target", "figure", "asked", "found", "held"], rows)


def _startup(runs: dict[str, Any]) -> str:
    nothing = runs["python -c pass"]
    rows = []
    for name, figures in runs.items():
        above = figures["wall"] - nothing["wall"]
        bound = ALLOWED.get(name)
        asked, held = (f"{bound:g} s", _yes(above <= bound)) if bound else ("", "")
        rows.append([f"`{name}`", f"{figures['wall']:.3f}", f"{figures['cpu']:.3f}", f"{above:.3f}", asked, held])
    return _markdown(["command", "wall s", "CPU s", "above python, wall s", "asked", "held"], rows)


def _machines(machines: dict[str, dict[str, str]]) -> Iterator[str]:
    """What each measurement was made on; those of one command together."""
    together: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for name, machine in machines.items():
        together.setdefault(tuple(machine.items()), []).append(name)
    for machine, names in together.items():
        yield "\n".join([f"`{'`, `'.join(names)}`:", "", *(f"- {key}: {value}" for key, value in machine)])


def _yes(held: bool) -> str:
    return "yes" if held else "**no**"


def _markdown(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
