"""Studies in processes of their own: several at once, one that is killed, and Hydra's joblib launcher."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.processes import Command
from helpers.studies import study_file

from vlframe.studies.ledger import Entry, entries
from vlframe.studies.lock import holder_of
from vlframe.studies.study import read_study

STEPS = ("stages.main.steps=8", "trainer.checkpoint_every=2", "debug.questions=2")


def finished(folder: Path) -> list[Entry]:
    """All entries, of which each was done once, in one run folder."""
    found = entries(folder)
    for item in found:
        assert item.standing == "done", (item.label, item.seed, item.standing, item.why)
        assert [event["event"] for event in item.events].count("done") == 1, item.events
        assert len(list(item.folder.glob("*/config.yaml"))) == 1, "no cell is run twice"
    return found


def wait_for_a_run_of(process: Command, folder: Path) -> Entry:
    """Until the process is in the middle of a run."""
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and process.poll() is None:
        for cell in (folder / "cells").glob("*"):
            holder = holder_of(cell)
            if holder and holder.pid == process.pid and list(cell.glob("*/checkpoints/*/state.json")):
                return next(item for item in entries(folder) if item.folder == cell)
        time.sleep(0.05)
    raise AssertionError("the process came to no run")


@pytest.mark.timeout(600)
def test_two_processes_share_a_study_and_one_is_killed(tmp_path: Path) -> None:
    file = study_file(tmp_path, base=STEPS, seeds=[0, 1])
    folder = tmp_path / "runs/studies" / read_study(file).name
    first = Command("study", "run", str(file), cwd=tmp_path)
    second = Command("study", "run", str(file), cwd=tmp_path)
    cut = wait_for_a_run_of(first, folder)
    os.killpg(first.pid, signal.SIGKILL)
    out, errors = second.communicate(timeout=400)
    assert second.returncode == 0, out + errors
    found = finished(folder)
    assert sorted((item.label, item.seed) for item in found) == [("pool", 0), ("pool", 1), ("stc", 0), ("stc", 1)]
    taken_over = next(item for item in found if item.folder == cut.folder)
    if [event["event"] for event in taken_over.events].count("begun") == 2:  # it was not done before it was killed
        assert taken_over.run == cut.run, "a begun run goes on in its folder"
        assert f"process {first.pid} on " in out and "is gone, and left this cell" in out
    assert not list((folder / "cells").glob("*/holder.json"))
    results = json.loads((folder / "results.json").read_text())
    assert [cell["runs"][1]["standing"] for cell in results["cells"]] == ["done", "done"]
    again = Command("study", "run", str(file), cwd=tmp_path)
    out, errors = again.communicate(timeout=200)
    assert again.returncode == 0 and "is run" not in out, out + errors
    finished(folder)


@pytest.mark.timeout(600)
def test_the_joblib_launcher_runs_cells_side_by_side(tmp_path: Path) -> None:
    file = study_file(tmp_path, base=("stages.main.steps=1", "debug.questions=2"))
    words = ["study", "run", str(file), "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    launcher = subprocess.Popen(  # in an interpreter of its own: joblib's workers end with it, not with a forked one
        [str(Path(sys.executable).with_name("vlframe")), *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    said, _ = launcher.communicate(timeout=500)
    assert launcher.returncode == 0, said
    found = finished(tmp_path / "runs/studies" / read_study(file).name)
    assert [item.label for item in found] == ["pool", "stc"]
    begun = {event["pid"] for item in found for event in item.events if event["event"] == "begun"}
    assert begun and launcher.pid not in begun
