"""The same three cases on a GPU: time and memory of our path compared with the official style.

    python experiments/performance/gpu.py [--repeats N] [--small] [--device cpu]

Each side has its own process. The outputs are compared in float32 first; then the work is timed in bf16 autocast,
between device synchronisations. Peak memory is the most that torch had allocated, weights and optimizer included.
Nothing is recomputed in the backward pass.
"""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from agree import differences
from composition import SIZES, write_media
from table import TITLES

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # experiments/
from study_page import write_between

HERE = Path(__file__).resolve().parent
SIDES = ("ours", "reference")
NAMES = ("text_step", "image_forward", "media_step")
MARKS = ("<!-- gpu: begin -->", "<!-- gpu: end -->")
WARM = 3


def worker(side: str, size: str, repeats: int, device: str, folder: Path) -> None:
    """Run one side of every case: outputs into the folder, figures as a line of JSON at the end."""
    import torch
    from cases import CASES

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    figures = {}
    for name in NAMES:
        case = CASES[name](side, SIZES[size], folder, recompute=False)
        case.to(device)
        np.savez(folder / f"{name}.{side}.npz", **case.outputs(case.step()))
        figures[name] = _timed(case, repeats, device)
        del case
    print(json.dumps(figures))


def _timed(case: Any, repeats: int, device: str) -> dict[str, float]:
    import torch

    on_gpu = device == "cuda"
    wait = torch.cuda.synchronize if on_gpu else lambda: None
    taken = []
    with torch.autocast(device, torch.bfloat16):
        for _ in range(WARM):
            case.step()
        if on_gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        for _ in range(repeats):
            wait()
            started = time.perf_counter()
            case.step()
            wait()
            taken.append(time.perf_counter() - started)
    return {"ms": 1000 * median(taken), "MB": torch.cuda.max_memory_allocated() / 1e6 if on_gpu else 0.0}


def measure(size: str, repeats: int, device: str) -> dict[str, dict[str, dict[str, float]]]:
    """Return figures by side and case. Exits with the differences if outputs are not equal."""
    with tempfile.TemporaryDirectory() as folder:
        write_media(SIZES[size], Path(folder))
        found = {}
        for side in SIDES:
            command = [sys.executable, __file__, "--worker", side, "--size", size, "--folder", folder]
            command += ["--repeats", str(repeats), "--device", device]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found[side] = json.loads(done.stdout.splitlines()[-1])
        for name in NAMES:
            wrong = differences(*(dict(np.load(Path(folder) / f"{name}.{side}.npz")) for side in SIDES))
            if wrong:
                raise SystemExit(f"{name}: the two sides differ, so nothing is said of them\n" + "\n".join(wrong[:8]))
    return found


def table(results: dict[str, Any]) -> str:
    lines = ["| case |  | ours | official style | ours / official style |", "| --- | --- | --- | --- | --- |"]
    for name in NAMES:
        for figure, digits in (("ms", 2), ("MB", 0)):
            ours, theirs = (results["figures"][side][name][figure] for side in SIDES)
            share = f"{ours / theirs:.3f}" if theirs else ""
            title = TITLES[name] if figure == "ms" else ""
            unit = "ms" if figure == "ms" else "peak MB allocated"
            lines.append(f"| {title} | {unit} | {ours:.{digits}f} | {theirs:.{digits}f} | {share} |")
    about = "\n".join(f"- {key}: {value}" for key, value in results["machine"].items())
    return "\n".join(lines) + "\n\n" + about


def machine(device: str, repeats: int) -> dict[str, str]:
    import torch

    packages = ", ".join(f"{name} {version(name)}" for name in ("vlframe", "torch", "transformers", "timm"))
    return {
        "date": date.today().isoformat(),
        "device": torch.cuda.get_device_name() if device == "cuda" else "CPU",
        "how": f"bf16 autocast, medians of {repeats} after {WARM}; outputs compared in float32",
        "versions": f"Python {platform.python_version()}, {packages}, CUDA {torch.version.cuda}",
    }


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--small", action="store_true", help="tiny sizes, for tests; writes nothing")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--report", type=Path, help="results of another machine: only write them into the README")
    parser.add_argument("--out", type=Path, default=HERE / "results_gpu.json")
    parser.add_argument("--worker", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--size", default="gpu", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args(argv)
    if chosen.worker:
        worker(chosen.worker, chosen.size, chosen.repeats, chosen.device, chosen.folder)
        return
    if chosen.report:
        results = json.loads(chosen.report.read_text(encoding="utf-8"))
    else:
        figures = measure("small" if chosen.small else chosen.size, chosen.repeats, chosen.device)
        results = {"figures": figures, "machine": machine(chosen.device, chosen.repeats)}
    print(table(results))
    if not chosen.small:
        chosen.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        write_between(HERE / "README.md", table(results), MARKS)


if __name__ == "__main__":
    main()
