"""Two real processes (gloo): one run folder, the numbers of one process, and nobody waiting for nobody."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.runs import manifest, only_run, training, vlframe, weights
from PIL import Image

from vlframe.runs.checkpoint import checkpoints, latest
from vlframe.runs.folder import RunFolder

TWO = ["trainer.devices=2", "trainer.accelerator=cpu"]


def assert_close(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor], tolerance: float) -> None:
    assert one.keys() == two.keys()
    for key in one:
        torch.testing.assert_close(
            one[key], two[key], rtol=0, atol=tolerance, msg=lambda text, key=key: f"{key}: {text}"
        )


def mixed(folder: Path) -> Path:
    """Rows by turns with an image and without; at a batch of one a rank, only one of two ranks runs the tower."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(8):
        text = f"say word {number}"
        row = {"id": f"row{number}"}
        if number % 2 == 0:
            Image.fromarray(rng.integers(0, 255, (48, 48, 3), dtype=np.uint8)).save(folder / f"{number}.png")
            text, row["image"] = f"<image>\n{text}", f"{number}.png"
        answer = "red" if number % 3 else "a much longer answer of many words"
        row["conversations"] = [{"from": "human", "value": text}, {"from": "gpt", "value": answer}]
        rows.append(row)
    (folder / "mixed.json").write_text(json.dumps(rows))
    return folder / "mixed.json"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mixed(tmp_path_factory.mktemp("mixed"))


def run(folder: Path, file: Path, *more: str) -> Path:
    folder.mkdir()
    # Plain small steps: Adam makes rounding as large as the gradient where that is nearly zero.
    arguments = training(file, "stages.main.lr=1e-5", "stages.main.steps=6", "stages.main.warmup_ratio=0", *more)
    vlframe("train", *arguments, cwd=folder)
    return only_run(folder)


def test_two_ranks_give_the_weights_of_one(tmp_path: Path, file: Path) -> None:
    """2 ranks x 1 = 1 x 2 = 1 x 1, accumulated twice; some batches have an image on one rank alone."""
    two = run(tmp_path / "two", file, *TWO, "stages.main.batch_size=1")
    one = run(tmp_path / "one", file, "stages.main.batch_size=2")
    accumulated = run(tmp_path / "accumulated", file, "stages.main.batch_size=1", "stages.main.accumulate=2")
    assert_close(weights(one), weights(two), 2e-6)
    assert_close(weights(one), weights(accumulated), 2e-6)
    rows = [[line.split(",")[0] for line in (place / "metrics.csv").read_text().splitlines()] for place in (one, two)]
    assert rows[0] == rows[1]  # every step once


def test_a_checkpoint_of_two_ranks_is_resumed_by_one_and_by_two(tmp_path: Path, file: Path) -> None:
    words = [*TWO, "stages.main.batch_size=1", "trainer.checkpoint_every=3", "trainer.keep_checkpoints=9"]
    straight = run(tmp_path / "straight", file, *words)
    cut = run(tmp_path / "cut", file, *words)
    for item in checkpoints(RunFolder.open(cut)):
        if item.step > 3 or item.finished:
            for path in item.path.iterdir():
                path.unlink()
            item.path.rmdir()
    vlframe("train", f"resume={cut}", cwd=tmp_path)
    ours, theirs = weights(cut), weights(straight)
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)
    answer = vlframe("predict", f"run={cut}", "prompt=say word 1", cwd=tmp_path)
    assert answer.stdout


def test_a_rank_that_dies_ends_the_run(tmp_path: Path, file: Path) -> None:
    """One rank cannot read its file; the other must not wait for it."""
    rows = json.loads(file.read_text())
    rows[6]["image"] = "absent.png"
    broken = file.with_name("broken.json")
    broken.write_text(json.dumps(rows))
    arguments = training(broken, *TWO, "stages.main.batch_size=1", "stages.main.steps=8")
    done = vlframe("train", *arguments, cwd=tmp_path, check=False)
    assert done.returncode != 0 and "absent.png" in done.stderr


def test_jobs_of_a_multirun_have_folders_of_their_own(tmp_path: Path) -> None:
    arguments = training(manifest(tmp_path), *TWO, "stages.main.steps=2", "seed=1,2")
    vlframe("train", "-m", *arguments, cwd=tmp_path)
    runs = sorted((tmp_path / "runs" / "default").iterdir())
    assert len(runs) == 2
    assert [latest(RunFolder.open(path)).finished for path in runs] == [True, True]
    assert {RunFolder.open(path).read_config().seed for path in runs} == {1, 2}
