"""Run one side of one case in its own process: a line on stdin runs it once, a line of JSON reports the cost.

The measuring script starts it, as ``worker.py CASE SIDE SIZE FOLDER``. Outputs of the first run are left in the folder.
"""

import gc
import json
import os
import sys
import time
from pathlib import Path

THREADS = 2


def main(name: str, side: str, size: str, folder: Path) -> None:
    answers = os.fdopen(os.dup(1), "w")  # libraries may print; only this pipe is read
    os.dup2(2, 1)
    import numpy as np
    import torch
    from cases import CASES
    from composition import SIZES

    torch.set_num_threads(THREADS)
    case = CASES[name](side, SIZES[size], folder)
    print("{}", file=answers, flush=True)
    first = True
    for _ in sys.stdin:
        gc.collect()
        forget_peak()
        wall, cpu = time.perf_counter(), time.process_time()
        result = case.step()
        figures = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "peak": peak_megabytes()}
        if first:
            np.savez(folder / f"{name}.{side}.npz", **case.outputs(result))
            first = False
        print(json.dumps(figures), file=answers, flush=True)


def forget_peak() -> None:
    """Reset the peak: Linux keeps the largest resident size of a process until it is reset (proc(5))."""
    Path("/proc/self/clear_refs").write_text("5")


def peak_megabytes() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e6


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4]))
