"""Studies in processes of their own: several at once, one that is killed, and Hydra's joblib launcher."""

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from helpers.mixtures import mixture
from helpers.processes import Command, vlframe
from helpers.studies import study_file
from safetensors.torch import load_file

from vlframe.config.typed import read_yaml, to_yaml
from vlframe.runs.folder import RunFolder
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


MEASURED = ("second", "wait", "memory")  # of this machine at that moment: times, and what they are divided by


def numbers_of(item: Entry) -> dict[str, object]:
    """What a run computed: its curve and scores, its answers, its weights. Not how long it took."""
    assert item.run is not None
    with open(item.run / "metrics.csv", encoding="utf-8") as file:
        curve = [
            {name: value for name, value in row.items() if not any(word in name for word in MEASURED)}
            for row in csv.DictReader(file)
        ]
    assert len(curve) == 8 and all(row["train/loss"] for row in curve), "a row for each step, once"
    weights = {
        f"{file.relative_to(item.run)}:{name}": tensor
        for file in sorted((item.run / "checkpoints").glob("**/*.safetensors"))
        for name, tensor in load_file(file).items()
    }
    assert weights
    return {"curve": curve, "answers": (item.run / "predictions.jsonl").read_text(), "weights": weights}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_study_that_is_killed_at_random_moments_ends_with_the_numbers_of_an_uncut_one(tmp_path: Path) -> None:
    places = [tmp_path / name for name in ("uncut", "cut")]
    for place in places:
        place.mkdir()
        study_file(place, base=STEPS)
    vlframe("list", cwd=tmp_path)  # what all of them are forked from takes its time once
    began = time.monotonic()
    vlframe("study", "run", "study.yaml", cwd=places[0])
    whole = time.monotonic() - began
    draw, killed = random.Random(13), 0
    while killed < 6:
        cut = Command("study", "run", "study.yaml", cwd=places[1])
        until = time.monotonic() + draw.uniform(0.1, 0.5) * whole
        while cut.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
        if cut.poll() is not None:  # all is done
            break
        os.killpg(cut.pid, signal.SIGKILL)
        cut.communicate(timeout=60)
        killed += 1
    assert killed > 1
    vlframe("study", "run", "study.yaml", cwd=places[1])
    uncut, found = (finished(place / "runs/studies" / place.name) for place in places)
    assert [item.folder.name for item in uncut] == [item.folder.name for item in found], "digests name no folder"
    for one, other in zip(map(numbers_of, uncut), map(numbers_of, found), strict=True):
        assert one["curve"] == other["curve"] and one["answers"] == other["answers"]
        assert one["weights"].keys() == other["weights"].keys()
        for name, tensor in one["weights"].items():
            assert torch.equal(tensor, other["weights"][name]), name


HUNGRY = """
from torch import empty, nn, uint8

import vlframe


class Hungry(nn.Module):
    expands_images = False

    def __init__(self, *, in_dim, out_dim):
        super().__init__()
        self.out = nn.Linear(in_dim, out_dim)

    def tokens(self, grid):
        return grid.height * grid.width

    def forward(self, features_BTHWD):
        empty(2**62 if self.training and len(features_BTHWD) > 2 else 1, dtype=uint8)  # no machine has as much
        return self.out(features_BTHWD.mean(1).flatten(1, 2))


@vlframe.hookimpl
def vlframe_components():
    yield vlframe.Component("connector", "hungry", "hungry:Hungry", None, "needs too much for more than two clips")
"""


@pytest.mark.timeout(300)
def test_memory_that_runs_out_in_training_halves_the_micro_batch(tmp_path: Path) -> None:
    (tmp_path / "hungry.py").write_text(HUNGRY)
    file = study_file(tmp_path, axes={"connector": {"hungry": "connector=hungry"}}, base=("debug.questions=2",))
    clips = mixture(tmp_path, ["video"] * 8)
    more = ["stages.main.batch_size=8", "stages.main.steps=2"]
    file.write_text(file.read_text().replace(str(tmp_path / "text.jsonl"), str(clips)))
    text = read_yaml(file, resolve=False)
    file.write_text(to_yaml({**text, "base": [*text["base"], *more]}))
    done = vlframe("study", "run", "study.yaml", "plugins.paths=[hungry.py]", cwd=tmp_path)
    said = "hungry, seed 0: memory ran out in stage main with {} samples at once; it is tried with {}, {} times a step"
    assert said.format(8, 4, 2) in done.stdout and said.format(4, 2, 4) in done.stdout
    (item,) = entries(tmp_path / "runs/studies" / read_study(file).name)
    assert [event["event"] for event in item.events] == ["begun", "halved", "halved", "done"]
    assert item.run is not None
    stage = RunFolder(item.run).read_config().stages["main"]
    assert (stage.batch_size, stage.accumulate_grad_batches) == (2, 4)
    with open(item.run / "metrics.csv", encoding="utf-8") as rows:
        assert [row["train/step_samples"] for row in csv.DictReader(rows)] == ["8.0", "8.0"]
    assert "micro-batch 2, 4 of them a step" in done.stdout, "the table says so, too"


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
