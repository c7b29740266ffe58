"""Ends that were not planned: signals, torn checkpoints, losses that are no number, a full disk."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.processes import Command, vlframe
from helpers.runs import manifest, only_run, training, wait_for_steps, weights
from lightning.pytorch import Callback

from vlframe.composer.compose import compose, open_registry
from vlframe.errors import TrainingError
from vlframe.runs.checkpoint import checkpoints, latest
from vlframe.runs.folder import RunFolder
from vlframe.runs.outcome import Outcome
from vlframe.training.run import train

LONG = ["stages.main.steps=100000", "trainer.checkpoint_every=100000"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_signal_finishes_the_step_and_leaves_a_checkpoint(
    tmp_path: Path, number: int, code: int, workers: int
) -> None:
    words = [f"loader.workers={workers}", "stages.main.accumulate_grad_batches=2"]
    process = Command("train", *training(manifest(tmp_path), *LONG, *words), cwd=tmp_path)
    wait_for_steps(tmp_path)
    os.killpg(process.pid, number)  # as a terminal or a scheduler does: every process of the group
    _, errors = process.communicate(timeout=120)
    assert process.returncode == code, errors
    assert "finishing the step" in errors and "continue with resume=" in errors and "Traceback" not in errors
    checkpoint = latest(RunFolder.open(only_run(tmp_path)))
    assert checkpoint.step > 0 and not checkpoint.finished
    assert torch.load(checkpoint.path / "training.pt", weights_only=True)["batches_done"] == 2 * checkpoint.step


def test_a_second_signal_leaves_at_once(tmp_path: Path) -> None:
    rows = manifest(tmp_path)
    # One step is as long as the whole test, so that the first signal alone would not end it.
    process = Command(
        "train", *training(rows, "stages.main.accumulate_grad_batches=100000", "stages.main.steps=2"), cwd=tmp_path
    )
    deadline = time.monotonic() + 180
    while not list(tmp_path.glob("runs/default/*/parameters.json")) and time.monotonic() < deadline:
        time.sleep(0.2)
    time.sleep(5)
    process.send_signal(signal.SIGTERM)
    time.sleep(1)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 143


def run_here(folder: Path, arguments: list[str]) -> RunFolder:
    registry = open_registry()
    return train(compose("train", [*arguments, f"runs={folder / 'runs'}"], registry), registry)


@pytest.mark.parametrize(
    "harm",
    [
        "cut",
        pytest.param("gone", marks=pytest.mark.slow),
        "state",
        pytest.param("half written", marks=pytest.mark.slow),
    ],
)
def test_a_torn_checkpoint_is_passed_over(tmp_path: Path, harm: str, capsys: pytest.CaptureFixture) -> None:
    words = ["trainer.checkpoint_every=2", "stages.main.steps=6"]
    straight = run_here(tmp_path / "straight", training(manifest(tmp_path), *words))
    folder = run_here(tmp_path / "torn", training(manifest(tmp_path), *words))
    newest = latest(folder).path
    file = newest / "llm.safetensors"
    if harm == "cut":
        os.truncate(file, file.stat().st_size // 2)
    elif harm == "gone":
        file.unlink()
    elif harm == "state":
        os.truncate(newest / "state.json", 10)
    else:
        newest.rename(newest.with_name(f".{newest.name}.123"))
    capsys.readouterr()
    registry = open_registry()
    train(compose("train", [f"resume={folder.path}"], registry), registry)
    assert harm == "half written" or "is torn" in capsys.readouterr().err
    assert not list(folder.checkpoints.glob(".*"))
    ours, theirs = weights(folder), weights(straight)
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)
    rows = [line.split(",")[0] for line in folder.metrics_csv.read_text().splitlines()[1:]]
    assert rows == [str(step) for step in range(1, 7)]  # no step twice, none missing


def test_half_a_row_of_metrics_is_forgotten(tmp_path: Path) -> None:
    words = ["trainer.checkpoint_every=2", "trainer.max_time=00:00:10:00"]
    folder = run_here(tmp_path, training(manifest(tmp_path), *words))
    last = max(checkpoints(folder), key=lambda item: item.step)
    for path in last.path.iterdir():
        path.unlink()
    last.path.rmdir()
    whole = folder.metrics_csv.read_text()
    folder.metrics_csv.write_text(whole + "1,0.3")  # what was being written when the process was killed
    registry = open_registry()
    train(compose("train", [f"resume={folder.path}"], registry), registry)
    rows = [line.split(",")[0] for line in folder.metrics_csv.read_text().splitlines()[1:]]
    assert rows == [str(step) for step in range(1, 7)]


def test_a_running_run_says_how_far_it_is_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that is known of it, if it is killed."""
    seen: list[tuple[str, int, int]] = []

    class Look(Callback):
        def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
            found = Outcome.read(RunFolder.open(only_run(tmp_path)))
            assert found is not None
            seen.append((found.state, found.steps_done, found.steps_asked))

    monkeypatch.chdir(tmp_path)
    registry = open_registry()
    config = compose("train", training(manifest(tmp_path), "trainer.checkpoint_every=2"), registry)
    train(config, registry, callbacks=[Look()])
    assert seen == [("running", done, 6) for done in (0, 0, 2, 2, 4, 4)]


def test_a_loss_that_is_no_number_names_its_batch(tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    words = ["stages.main.lr=1e30", "stages.main.max_grad_norm=0", "stages.main.warmup_ratio=0"]
    with pytest.raises(TrainingError, match=r"the loss is (nan|inf).*failed_batch\.json") as caught:
        run_here(tmp_path, training(manifest(tmp_path), *words))
    assert "No checkpoint had been written yet" in str(caught.value)
    (record,) = folder.glob("default/*/failed_batch.json")
    failed = json.loads(record.read_text())
    assert len(failed["samples"]) == 2 and all(name.startswith("row") for name in failed["samples"])
    assert len(failed["tokens"]) == 2 and failed["step"] > 1


def test_the_checkpoint_that_a_failed_run_leaves_is_named(tmp_path: Path) -> None:
    words = ["stages.main.lr=1e30", "stages.main.max_grad_norm=0", "stages.main.warmup_ratio=0"]
    with pytest.raises(TrainingError) as caught:
        run_here(tmp_path, training(manifest(tmp_path), *words, "trainer.checkpoint_every=1"))
    (run,) = (tmp_path / "runs" / "default").iterdir()
    (kept,) = checkpoints(RunFolder.open(run))
    assert f"The checkpoint {kept.path.name} is kept" in str(caught.value)


def test_memory_that_runs_out_names_its_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vlframe.model.video_llm import VideoLLM

    def full(self: VideoLLM, batch: object) -> None:
        torch.empty(2**48, dtype=torch.uint8)

    monkeypatch.setattr(VideoLLM, "forward", full)
    with pytest.raises(TrainingError, match=r"memory ran out. The batch has 2 samples, the longest are row\d"):
        run_here(tmp_path, training(manifest(tmp_path)))


def test_a_full_disk_keeps_the_checkpoint_before(tmp_path: Path) -> None:
    """A file-size limit of the process stands for a full disk: writing fails half way."""
    rows = manifest(tmp_path)
    vlframe("train", *training(rows, "stages.main.steps=2"), cwd=tmp_path)
    (run,) = (tmp_path / "runs" / "default").iterdir()
    size = (latest(RunFolder.open(run)).path / "training.pt").stat().st_size
    code = (
        "import resource, signal, sys\n"
        "from vlframe.cli import main\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({size // 2}, {size // 2}))\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    words = training(rows, "stages.main.steps=2", "name=full")
    done = subprocess.run(
        [sys.executable, "-c", code, "train", *words], cwd=tmp_path, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 2, done.stderr
    assert "could not be written" in done.stderr and "Make room in" in done.stderr
    (full,) = (tmp_path / "runs" / "full").iterdir()
    assert not list((full / "checkpoints").iterdir())
