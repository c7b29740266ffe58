"""The folder of a sweep (``-m``): the result of each job, and the run it made.

    jobs/0003.json    the job's overrides, its value or its error; written when it ends
    jobs/0003.run     the folder of its run, once there is one

Jobs are counted from 1. They may run in other processes, on other machines: each writes its own files.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlframe.runs.folder import RunFolder, write_text

if TYPE_CHECKING:
    from vlframe.config.schema import SweepConfig


def record_job(sweep: Path, number: int, words: Sequence[str], **outcome: Any) -> None:
    """Write the result of a job."""
    row = {"job": number, "words": list(words), "value": None, "error": "", "exit_code": 0, "traceback": ""}
    write_text(_jobs(sweep) / f"{number:04d}.json", json.dumps(row | outcome, indent=1, default=str))


def note_run(sweep: SweepConfig, folder: RunFolder) -> None:
    """Record where the run of a job is; does nothing if the run is not a job."""
    if sweep.folder is not None and sweep.job is not None:
        write_text(_jobs(Path(sweep.folder)) / f"{sweep.job:04d}.run", str(folder.path.resolve()))


def read_jobs(sweep: Path) -> list[dict[str, Any]]:
    """Return the results of the jobs in order. ``run`` is None for a job without a run; ``exit_code`` is None for one
    that has not ended, or was killed.
    """
    numbers = sorted(int(file.stem) for file in (sweep / "jobs").glob("[0-9]*.json"))
    return [_read(sweep / "jobs", number) for number in numbers]


def is_sweep(folder: Path) -> bool:
    return (folder / "jobs").is_dir() and not (folder / "config.yaml").is_file()


def _read(jobs: Path, number: int) -> dict[str, Any]:
    outcome, run = jobs / f"{number:04d}.json", jobs / f"{number:04d}.run"
    return {
        **json.loads(outcome.read_text(encoding="utf-8")),
        "run": run.read_text(encoding="utf-8") if run.is_file() else None,
    }


def _jobs(sweep: Path) -> Path:
    folder = sweep / "jobs"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
