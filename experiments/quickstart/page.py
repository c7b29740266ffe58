"""The demo's page: clips beside what the model answers, and how the loss of both runs fell."""

import json
import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from vlframe.runs.folder import RunFolder
from vlframe.studies.curves import LOSS, curve, read_history

PER_CATEGORY = 3  # clips that are shown of each category
WIDTH, HEIGHT = 640, 220  # of the chart, in pixels
COLOURS = ("#1f6f8b", "#c05a2b")
STYLE = """
:root { color-scheme: light dark }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 64em; margin: 2em auto; padding: 0 1em }
.clips { display: grid; grid-template-columns: repeat(auto-fill, minmax(11em, 1fr)); gap: 1em }
svg { width: 100%; max-width: 52em }
figure { margin: 0 } video, img { width: 100%; background: #000 } .right { color: #2e8b57 } .wrong { color: #c0392b }
"""


def write_page(seeing: Path, lacking: Path, control: str, table: str, file: Path) -> Path:
    """Write the page of a run and of its control, which was trained without the medium; return ``file``.

    ``table`` are the accuracies of both in words. Clips are linked where they lie, so the page is for this machine.
    """
    losses = {
        name: curve(read_history(RunFolder(run).metrics_csv), LOSS)
        for name, run in (("trained", seeing), (f"trained {control}", lacking))
    }
    shown = "\n".join(_clip(row, file.parent) for row in _chosen(seeing))
    file.write_text(
        "<!doctype html>\n<html lang='en'><meta charset='utf-8'><title>vlframe: the demo</title>"
        f"<style>{STYLE}</style>\n"
        f"<h1>What a model of {escape(seeing.parent.name)} sees</h1>\n<pre>{escape(table)}</pre>\n"
        f"<h2>Questions about clips it was not trained on</h2>\n<div class='clips'>\n{shown}\n</div>\n"
        f"<h2>Loss by step</h2>\n{chart(losses)}\n</html>\n",
        encoding="utf-8",
    )
    return file


def _chosen(run: Path) -> list[Mapping[str, Any]]:
    """Return the first answers of each category."""
    rows = [json.loads(line) for line in RunFolder(run).predictions.read_text(encoding="utf-8").splitlines()]
    categories = dict.fromkeys(row["category"] for row in rows)
    return [row for name in categories for row in [row for row in rows if row["category"] == name][:PER_CATEGORY]]


def _clip(row: Mapping[str, Any], folder: Path) -> str:
    right = row["scores"]["accuracy"]
    files = dict.fromkeys(os.path.relpath(path, folder) for path in row["media"])
    players = "".join(f"<video src='{quote(path)}' autoplay loop muted controls playsinline></video>" for path in files)
    otherwise = "" if right else f" (right: {escape(row['answers'][0])})"
    return (
        f"<figure>{players}<figcaption>{escape(row['question'].splitlines()[-1])}<br>"
        f"<b class='{'right' if right else 'wrong'}'>{escape(row['text'].strip())}</b>"
        f"{otherwise}</figcaption></figure>"
    )


def chart(curves: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Return an SVG with a line for each curve, from step 0 and a loss of 0; each has its name beside its colour."""
    points = [point for steps in curves.values() for point in steps]
    last, most = max((x for x, _ in points), default=1.0), max((y for _, y in points), default=1.0)
    lines = []
    for number, (name, steps) in enumerate(curves.items()):
        colour = COLOURS[number % len(COLOURS)]
        places = " ".join(f"{WIDTH * x / last:.1f},{HEIGHT * (1 - y / most):.1f}" for x, y in steps)
        lines.append(f"<polyline points='{places}' fill='none' stroke='{colour}' stroke-width='1.5'/>")
        lines.append(f"<text x='{WIDTH - 150}' y='{18 * (number + 1)}' fill='{colour}'>{escape(name)}</text>")
    ends = f"<text x='2' y='14' fill='currentColor'>{most:.2f}</text>"
    ends += f"<text x='{WIDTH}' y='{HEIGHT + 16}' text-anchor='end' fill='currentColor'>step {last:.0f}</text>"
    return f"<svg viewBox='0 0 {WIDTH} {HEIGHT + 24}' role='img'>{ends}{''.join(lines)}</svg>"
