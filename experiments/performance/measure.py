"""Our path compared with the official style of running the same model: time and memory, with equal outputs.

    python experiments/performance/measure.py [--only NAME] [--repeats N] [--small]

Each side of a case has its own process; they run in turn (ours, reference, ours, reference, …), and the medians are
reported. The outputs of the first runs are compared before any cost is reported.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import date
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from agree import differences
from composition import SIZES, write_media
from startup import measure_startup
from table import TITLES, tables
from worker import THREADS

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # experiments/
from study_page import write_between

HERE = Path(__file__).resolve().parent
SIDES = ("ours", "reference")
REPEATS = {"text_step": 5, "image_forward": 7, "media_step": 3, "evaluation": 3, "startup": 15}
# The first run of a process allocates and warms caches, so it is not counted, unless it is itself a long series.
FIRST_COUNTS = ("evaluation",)
# Two more processes return freed memory at once (mallopt(3)), so their peak is the memory in use at one moment, without
# what the C library keeps for later. That takes time, so nothing is timed in them.
NEEDED_MEMORY = ("media_step",)
GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
SHOWN = 8


class Worker:
    """A process that runs one side on request."""

    def __init__(self, case: str, side: str, size: str, folder: Path, settings: Mapping[str, str]) -> None:
        # Waiting threads sleep, so that CPU seconds are work even when the machine is shared.
        environment = {
            **os.environ,
            **settings,
            "OMP_NUM_THREADS": str(THREADS),
            "OMP_WAIT_POLICY": "PASSIVE",
            "TOKENIZERS_PARALLELISM": "false",
            "HF_HUB_OFFLINE": "1",
        }
        command = [sys.executable, str(HERE / "worker.py"), case, side, size, str(folder)]
        self.name = f"{side} of {case}"
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()

    def answer(self) -> dict[str, float]:
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended with {self.process.wait()}; its own message stands above")
        return json.loads(line)

    def ready(self) -> None:
        self.answer()

    def run(self) -> dict[str, float]:
        self.process.stdin.write("run\n")
        self.process.stdin.flush()
        return self.answer()


def measure_case(name: str, size: str, repeats: int, folder: Path) -> dict[str, Any]:
    """Return the medians of both sides. Exits with a list of the differences if their outputs differ."""
    with ExitStack() as stack:
        workers = {side: stack.enter_context(Worker(name, side, size, folder, {})) for side in SIDES}
        for worker in workers.values():
            worker.ready()
        runs: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
        for number in range(repeats + (name not in FIRST_COUNTS)):
            for side, worker in workers.items():
                runs[side].append(worker.run())
            if number == 0:
                _refuse_different(name, folder)
    counted = {side: taken[-repeats:] for side, taken in runs.items()}
    medians = {
        side: {figure: median(run[figure] for run in taken) for figure in taken[0]} for side, taken in counted.items()
    }
    if name in NEEDED_MEMORY:
        for side in SIDES:
            medians[side]["needed"] = _needed_memory(name, side, size, folder)
    asked = {"clips": SIZES[size].clips, "questions": SIZES[size].questions}
    return medians | {"size": asked, "repeats": repeats, "runs": counted}


def _needed_memory(name: str, side: str, size: str, folder: Path) -> float:
    """Measure the megabytes of a second run, when the optimizer has its states; they do not vary."""
    with Worker(name, side, size, folder, GIVE_BACK) as worker:
        worker.ready()
        worker.run()
        return worker.run()["peak"]


def _refuse_different(name: str, folder: Path) -> None:
    ours, reference = (dict(np.load(folder / f"{name}.{side}.npz")) for side in SIDES)
    found = differences(ours, reference)
    if found:
        more = f"\nand {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise SystemExit(f"{name}: the two sides differ, so nothing is measured\n" + "\n".join(found[:SHOWN]) + more)
    print(f"{name}: {len(ours)} outputs equal", flush=True)


def machine() -> dict[str, str]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    packages = ", ".join(f"{name} {version(name)}" for name in ("vlframe", "torch", "transformers", "timm"))
    return {
        "date": date.today().isoformat(),
        "machine": f"{model}, {os.cpu_count()} cores, {THREADS} threads, float32",
        "load": f"{os.getloadavg()[0]:.1f} in the minute before the end (two busy threads alone are 2.0)",
        "versions": f"Python {platform.python_version()}, {packages}",
    }


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=[*TITLES, "startup"], help="one of the measurements; the others keep theirs")
    parser.add_argument("--repeats", type=int, help="counted runs of each side")
    parser.add_argument("--small", action="store_true", help="tiny sizes, for tests; writes nothing")
    chosen = parser.parse_args(argv)
    size = "small" if chosen.small else "full"
    path = HERE / "results.json"
    results: dict[str, Any] = {"cases": {}, "startup": {}, "machines": {}}
    if chosen.only and not chosen.small and path.exists():
        results = json.loads(path.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        write_media(SIZES[size], Path(folder))
        names = [chosen.only] if chosen.only else list(REPEATS)
        for name in names:
            repeats = chosen.repeats or REPEATS[name]
            if name == "startup":
                results["startup"] = measure_startup(repeats)
            else:
                results["cases"][name] = measure_case(name, size, repeats, Path(folder))
    results["machines"] |= dict.fromkeys(names, machine())
    text = tables(results)
    print(text)
    if not chosen.small:
        path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        write_between(HERE / "README.md", text)


if __name__ == "__main__":
    main()
