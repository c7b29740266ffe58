"""Response time of the command line, compared with Python doing nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

SCRIPT = str(Path(sys.executable).with_name("vlframe"))
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "vlframe --help": [SCRIPT, "--help"],
    "vlframe list": [SCRIPT, "list"],
}
ALLOWED = {"vlframe --help": 0.15, "vlframe list": 0.3}  # seconds above ``python -c pass``


def measure_startup(repeats: int) -> dict[str, Any]:
    """Return medians over interleaved runs, in seconds; the first of each fills the disk cache, uncounted."""
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in COMMANDS}
    for _ in range(repeats + 1):
        for name, command in COMMANDS.items():
            runs[name].append(_run(command))
    return {
        name: {"wall": median(wall for wall, _ in kept), "cpu": median(cpu for _, cpu in kept)}
        for name, kept in ((name, taken[1:]) for name, taken in runs.items())
    }


def _run(command: list[str]) -> tuple[float, float]:
    """Measure wall and CPU seconds of a process from start to end."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    return wall, usage.ru_utime + usage.ru_stime
