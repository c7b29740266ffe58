"""The keys of ``debug`` in a real run, and the value that ``train`` gives to a sweeper."""

import json
from pathlib import Path

import pytest
from helpers.runs import manifest, only_run, training

from vlframe.composer.command_line import parse
from vlframe.composer.jobs import run_jobs
from vlframe.config.typed import read_yaml

TRAIN = ("train", "vlframe.commands.train:train")


def test_a_run_for_trying_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.chdir(tmp_path)
    file = manifest(tmp_path)
    debug = ["debug.steps=1", "debug.samples=2", "debug.questions=3", "debug.profiler=true"]
    asked = ["benchmark=exact_match_file", f"benchmark.dataset.path={file}", "optimized_metric=n_asked"]
    value = run_jobs(*TRAIN, parse("train", training(file, *debug, *asked, "stages.main.weight_decay=0.1")))
    run = only_run(tmp_path)
    assert value == 3.0 == json.loads((run / "metrics.json").read_text())["n_asked"]
    assert "stage main: 1 steps on 2 samples" in capsys.readouterr().err
    assert "run_training_batch" in (run / "profile" / "fit-main.txt").read_text()
    stage = read_yaml(run / "config.yaml")["stages"]["main"]
    assert (stage["steps"], stage["weight_decay"]) == (1, 0.0)


def test_a_run_without_a_benchmark_gives_its_last_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    value = run_jobs(*TRAIN, parse("train", training(manifest(tmp_path), "debug=fast")))
    last = (only_run(tmp_path) / "metrics.csv").read_text().splitlines()[-1]
    assert value > 0 and str(value) in last
