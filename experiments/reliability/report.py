"""Format outcomes as the tables of the README."""

from __future__ import annotations

import os
import platform
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # experiments/
from study_page import table

RESULTS = {
    "same": "the same",
    "refused": "refused",
    "different": "other pictures or sound",
    "count": "another number",
    "hung": "killed at the limit",
    "crashed": "decoder crashed",
    "fault": "reader failed",
}


def tables(
    outcomes: Sequence[Any],
    sizes: Mapping[str, tuple[int, int]],
    seconds: Mapping[str, float],
    cost: Sequence[Sequence[str]],
    seed: int,
) -> str:
    """Return Markdown: by reader, by kind of damage, and which damage is accepted silently."""
    pyav = [item for item in outcomes if item.reader == "pyav"]
    flips = [item for item in pyav if item.kind == "bits flipped"]
    cut = [item for item in pyav if item.kind == "truncated"]
    memory = [
        [name, str(warm), str(end), f"{end - warm:+d}", f"{seconds[name]:.0f}"] for name, (warm, end) in sizes.items()
    ]
    return "\n\n".join(
        [
            _counted("reader", outcomes, lambda item: item.reader),
            "By kind of damage, `pyav`:",
            _counted("damage", pyav, lambda item: item.kind),
            "Flipped bits by file, `pyav`:",
            _counted("file", flips, _name),
            "Truncated files that are not refused, `pyav`:",
            _counted("file", [item for item in cut if item.result != "refused"], _name),
            table(["reader", "resident MB, warm", "1000 opens later", "growth", "seconds for all"], memory),
            "What the process costs (`media.timeout`), median of 15:",
            table(["read", "here, ms", "in the process, ms"], [list(row) for row in cost]),
            "\n".join(f"- {line}" for line in _about(seed)),
        ]
    )


def _name(item: Any) -> str:
    return f"{item.base}, {item.read}" if item.read == "sound" and item.base.startswith(("h264", "vp9")) else item.base


def _counted(head: str, outcomes: Iterable[Any], key: Any) -> str:
    """Return a line for each value of ``key``, with a column for each result."""
    counts: dict[str, Counter[str]] = {}
    for item in outcomes:
        counts.setdefault(key(item), Counter())[item.result] += 1
    rows = [
        [name, str(sum(count.values())), *(str(count[result] or "") for result in RESULTS)]
        for name, count in counts.items()
    ]
    return table([head, "reads", *RESULTS.values()], rows)


def _about(seed: int) -> Iterable[str]:
    import av

    yield f"date: {date.today()}, seed {seed}"
    codec = ".".join(map(str, av.library_versions["libavcodec"]))
    packages = ", ".join(f"{name} {version(name)}" for name in ("vlframe", "av", "decord", "pillow"))
    yield f"versions: Python {platform.python_version()}, {packages}, libavcodec {codec}"
    yield f"machine: {platform.machine()}, {os.cpu_count()} cores"
