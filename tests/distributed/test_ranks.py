"""Two real processes (gloo): one run folder, and the numbers of one process."""

import csv
import json
import shutil
from collections.abc import Callable
from functools import reduce
from operator import getitem
from pathlib import Path

import pytest
import torch
from helpers.compositions import SOUND
from helpers.mixtures import mixture
from helpers.processes import vlframe, vlframe_anew
from helpers.runs import manifest, only_run, training, weights

from vlframe.composer.compose import compose, open_registry
from vlframe.config.typed import read_yaml, to_yaml
from vlframe.runs.checkpoint import checkpoints, latest
from vlframe.runs.folder import RunFolder
from vlframe.training.run import train

# One of two ranks has no video, or no sound, or nothing at all: a row that cannot be read, and the odd one at the end.
KINDS = ["text", "video", "image", "both", "broken", "audio", "many", "text", "image"]
TWO = ["trainer.devices=2", "stages.main.batch_size=1"]
FSDP = [*TWO, "trainer.strategy=fsdp"]
# Plain small steps: Adam makes rounding as large as the gradient where that is nearly zero.
WORDS = [
    *SOUND, "trainer.accelerator=cpu", "media.on_error=skip", "stages.main.encoder.train=full",
    "stages.main.audio_encoder.train=full", "stages.main.lr=1e-5", "stages.main.warmup_ratio=0",
    "stages.main.max_grad_norm=0.5", "stages.main.steps=null", "stages.main.epochs=1",
    "trainer.checkpoint_every=2", "trainer.keep_checkpoints=9",
]  # fmt: skip
TOLERANCE = 2e-6  # in every weight, after five steps of 1e-5


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mixture(tmp_path_factory.mktemp("mixture"), KINDS)


@pytest.fixture(scope="module")
def run(file: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], RunFolder]:
    """The run called one, ddp or fsdp, trained and evaluated once."""
    done: dict[str, RunFolder] = {}
    benchmark = ["benchmark=exact_match_file", f"benchmark.dataset.path={file}", "evaluation.batch_size=3"]
    benchmark += ["evaluation.every=2", "validation.dataset=conversations", f"validation.dataset.path={file}"]

    def get(name: str) -> RunFolder:
        if name not in done:
            more = {"one": ["stages.main.batch_size=2"], "ddp": TWO, "fsdp": FSDP}[name]
            arguments = training(file, *WORDS, *benchmark, *more)
            done[name] = run_of(tmp_path_factory.mktemp(name), arguments, here=name == "one")
        return done[name]

    return get


def run_of(folder: Path, arguments: list[str], *, here: bool) -> RunFolder:
    """In this process, or as the command with its ranks."""
    if here:
        registry = open_registry()
        return train(compose("train", [*arguments, f"runs={folder / 'runs'}"], registry), registry)
    folder.mkdir(exist_ok=True)
    vlframe("train", *arguments, cwd=folder)
    return RunFolder.open(only_run(folder))


def assert_close(one: RunFolder, two: RunFolder, tolerance: float = TOLERANCE) -> None:
    ours, theirs = weights(one), weights(two)
    assert ours.keys() == theirs.keys()
    for key in ours:
        torch.testing.assert_close(
            ours[key], theirs[key], rtol=0, atol=tolerance, msg=lambda text, key=key: f"{key}: {text}"
        )


def column(folder: RunFolder, name: str) -> list[float]:
    with open(folder.metrics_csv, newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["train/step_tokens"]]  # not that of the scores
    return [float(row[name] or "nan") for row in rows]  # a step whose only sample was left out has no loss


@pytest.mark.parametrize("name", ["ddp", "fsdp"])
def test_two_ranks_give_the_weights_and_metrics_of_one(run, name: str) -> None:
    """2 ranks x 1 = 1 x 2, with every sample once: eight that are learned from, and one that was left out."""
    one, two = run("one"), run(name)
    assert_close(one, two)
    assert [item.step for item in checkpoints(two)] == [2, 4, 5]
    assert column(two, "step") == [1, 2, 3, 4, 5]  # every step once
    for scalar in ("train/step_samples", "train/step_tokens", "train/lr"):
        assert column(two, scalar) == column(one, scalar)
    assert sum(column(two, "train/step_samples")) == 8
    assert column(two, "train/loss") == pytest.approx(column(one, "train/loss"), rel=1e-5, nan_ok=True)
    for scalar in ("validation/loss", "eval/accuracy", "eval/n"):
        ours, theirs = column(two, scalar), column(one, scalar)
        assert ours == pytest.approx(theirs, rel=1e-5, nan_ok=True)
        assert [value == value for value in ours] == [False, True, False, True, True]  # after steps 2, 4 and the last
    left_out = [json.loads(line)["id"] for line in two.quarantine.read_text().splitlines()]
    assert set(left_out) == {"row4"}


@pytest.mark.parametrize("name", ["ddp", "fsdp"])
def test_ranks_share_the_questions_and_the_scores_are_those_of_one(run, name: str) -> None:
    one, two = run("one"), run(name)
    assert two.predictions.read_text() == one.predictions.read_text()
    assert len(two.predictions.read_text().splitlines()) == 8
    ours, theirs = (json.loads(folder.metrics_json.read_text()) for folder in (one, two))
    timed = {"samples_per_second", "train_seconds"}
    assert {key: value for key, value in theirs.items() if key not in timed} == {
        key: value for key, value in ours.items() if key not in timed
    }
    assert (theirs["n"], theirs["n_asked"], theirs["quarantined/media"]) == (8, 9, 1)


def gone_back(folder: RunFolder, place: Path, step: int, **changes: object) -> RunFolder:
    """A copy of a run that had come as far as ``step``, with changes to its config."""
    shutil.copytree(folder.path, place)
    copied = RunFolder.open(place)
    for item in checkpoints(copied):
        if item.step > step:
            shutil.rmtree(item.path)
    config = read_yaml(copied.config)
    for key, value in changes.items():
        *groups, name = key.split("__")
        holder = reduce(getitem, groups, config)
        assert name in holder
        holder[name] = value
    config["benchmark"] = None
    copied.config.write_text(to_yaml(config))
    return copied


def test_two_ranks_resume_what_two_ranks_wrote(run, tmp_path: Path) -> None:
    """Bit for bit."""
    cut = gone_back(run("ddp"), tmp_path / "cut", 2)
    vlframe("train", f"resume={cut.path}", cwd=tmp_path)
    assert_close(run("ddp"), cut, 0)


@pytest.mark.parametrize("name", ["ddp", "fsdp"])
def test_one_process_resumes_and_uses_what_two_ranks_wrote(run, tmp_path: Path, name: str) -> None:
    alone = {"trainer__devices": 1, "trainer__strategy": "auto", "stages__main__batch_size": 2}
    cut = gone_back(run(name), tmp_path / "cut", 2, **alone)
    registry = open_registry()
    train(compose("train", [f"resume={cut.path}", "resume_changes=allow"], registry), registry)
    assert_close(run("one"), cut)


def test_shards_resume_what_one_process_wrote(run, tmp_path: Path) -> None:
    shared = {"trainer__devices": 2, "trainer__strategy": "fsdp", "stages__main__batch_size": 1}
    cut = gone_back(run("one"), tmp_path / "cut", 2, **shared)
    vlframe("train", f"resume={cut.path}", "resume_changes=allow", cwd=tmp_path)
    assert_close(run("one"), cut)


@pytest.mark.slow
def test_shards_of_frozen_parts_of_adapters_and_of_recomputed_layers(tmp_path: Path, file: Path) -> None:
    """A stage with a frozen language model, then one with adapters: whole in between, accumulated, recomputed."""
    words = [
        "stages.main.steps=2", "stages.main.epochs=null", "stages.main.llm.train=frozen",
        "+stage@stages.adapt=tune_lora", "stages.adapt.steps=2", "stages.adapt.lr=1e-5", "stages.adapt.warmup_ratio=0",
        "stages.adapt.accumulate_grad_batches=2", "stages.adapt.llm.lora.dropout=0", "stages.adapt.max_grad_norm=0.1",
        "trainer.gradient_checkpointing=true",
    ]  # fmt: skip
    arguments = training(file, *WORDS, *words)
    two = run_of(tmp_path / "two", [*arguments, *FSDP, "stages.adapt.batch_size=1"], here=False)
    one = run_of(tmp_path / "one", [*arguments, "stages.main.batch_size=2", "stages.adapt.batch_size=2"], here=True)
    assert any("lora_B" in key and value.abs().max() > 0 for key, value in weights(two).items())
    assert_close(one, two)


@pytest.mark.slow
def test_jobs_of_a_multirun_have_folders_and_wandb_runs_of_their_own(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    arguments = training(manifest(tmp_path), *TWO, "trainer.accelerator=cpu", "stages.main.steps=2", "seed=1,2")
    vlframe_anew("train", "-m", *arguments, "logger=wandb", cwd=tmp_path, WANDB_MODE="offline")
    runs = sorted((tmp_path / "runs" / "default").iterdir())
    assert len(runs) == 2
    assert [latest(RunFolder.open(path)).finished for path in runs] == [True, True]
    assert {RunFolder.open(path).read_config().seed for path in runs} == {1, 2}
    offline = [[item.name for item in (path / "wandb").glob("offline-run-*")] for path in runs]
    assert [len(found) for found in offline] == [1, 1]  # of the first rank; the other has nothing to log
    assert offline[0] != offline[1]
    files = [file for path in runs for file in (path / "wandb").glob("offline-run-*/run-*.wandb")]
    assert len(files) == 2 and all(b"train/loss" in file.read_bytes() for file in files)
