"""The performance study: both ways of driving the model give the same, its command runs, unequal sides are refused."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

STUDY = Path(__file__).resolve().parents[2] / "experiments" / "performance"
CASES = ("text_step", "image_forward", "media_step", "evaluation")
NAMES = {path.stem for path in STUDY.glob("*.py")}


@pytest.fixture(scope="module")
def study():
    """The study's own modules, which no other study's must be taken for."""
    before = {name: sys.modules.pop(name) for name in NAMES & set(sys.modules)}
    sys.path.insert(0, str(STUDY))
    yield import_module
    sys.path.remove(str(STUDY))
    for name in NAMES:
        sys.modules.pop(name, None)
    sys.modules.update(before)


@pytest.fixture(scope="module")
def folder(study, tmp_path_factory):
    composition = study("composition")
    folder = tmp_path_factory.mktemp("media")
    composition.write_media(composition.SIZES["small"], folder)
    return folder


@pytest.mark.parametrize("name", CASES)
def test_both_sides_give_the_same(study, folder, name):
    size = study("composition").SIZES["small"]
    found = []
    for side in ("ours", "reference"):
        case = study("cases").CASES[name](side, size, folder)
        found.append(case.outputs(case.step()))
    assert study("agree").differences(*found) == []
    assert found[0], "nothing was compared"
    if name == "evaluation":
        assert len(found[0]) == size.questions
    if name.endswith("_step"):
        touched = any("connector" in output for output in found[0])
        assert touched == (name == "media_step")  # text rows train the language model alone


def test_the_official_style_runs_every_tower_layer(study, folder):
    size = study("composition").SIZES["small"]
    pipeline = study("composition").open_composition(size, folder)
    official = study("official_style").OfficialStyle(pipeline)
    layers = size.tower["num_hidden_layers"]
    assert (len(pipeline.model.parts["encoder"].encoder.layers), len(official.tower.encoder.layers)) == (
        layers - 1,
        layers,
    )


def test_unequal_sides_are_not_measured(study, tmp_path):
    loss = np.array(1.0, np.float32)
    np.savez(tmp_path / "text_step.ours.npz", loss=loss, ids=np.array([1, 2]))
    np.savez(tmp_path / "text_step.reference.npz", loss=loss * 1.0001, ids=np.array([1, 3]))
    with pytest.raises(SystemExit, match=r"(?s)nothing is measured.*ids.*loss"):
        study("measure")._refuse_different("text_step", tmp_path)


def test_a_target_that_is_missed_is_said_so(study):
    target = study("table").Target("text_step", "cpu", 1 / 20, True)
    case = {"ours": {"cpu": 1.0}, "reference": {"cpu": 19.0}}
    assert target.found(case) == ("19.0x", False)
    assert target.found({**case, "reference": {"cpu": 21.0}}) == ("21.0x", True)


@pytest.mark.slow
def test_the_command_prints_its_table():
    command = [sys.executable, STUDY / "measure.py", "--small", "--only", "image_forward", "--repeats", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "image_forward: 1 outputs equal" in done.stdout
    assert "| tower and connector, 1 image |" in done.stdout


@pytest.mark.slow
def test_the_command_for_a_gpu_compares_and_times_both_sides():
    command = [sys.executable, STUDY / "gpu.py", "--small", "--device", "cpu", "--repeats", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = [line.split(" | ") for line in done.stdout.splitlines() if "| ms |" in line]
    assert len(rows) == 3 and all(float(row[2]) > 0 and float(row[3]) > 0 for row in rows)
