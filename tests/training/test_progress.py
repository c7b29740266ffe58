"""What a log without a terminal says of a run, and which steps have a row of metrics."""

import csv
import re
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers.runs import manifest, training
from torch.utils.data import DataLoader

from vlframe.composer.compose import compose, open_registry
from vlframe.runs.folder import RunFolder
from vlframe.training import run as run_module
from vlframe.training.progress import duration, progress_line
from vlframe.training.run import train
from vlframe.training.trainer import quiet_lightning

LINE = re.compile(r"stage main, step (\d+) of (\d+): loss [\d.]+, lr [\de.-]+, [\de.+]+ samples/s, (.+)")


def run_here(folder: Path, *arguments: str) -> RunFolder:
    registry = open_registry()
    return train(compose("train", [*arguments, f"runs={folder / 'runs'}"], registry), registry)


def steps_with_a_loss(run: RunFolder) -> list[int]:
    with open(run.metrics_csv, newline="") as file:
        return [
            int(row["step"]) for row in csv.DictReader(file) if row["train/loss"] and row["train/samples_per_second"]
        ]


@pytest.mark.parametrize(("steps", "rows"), [(3, [1, 2, 3]), (12, [1, 10, 12])])
def test_each_row_is_a_line(tmp_path: Path, capsys: pytest.CaptureFixture, steps: int, rows: list[int]) -> None:
    words = [f"stages.main.steps={steps}", "trainer.log_every=10", "trainer.progress=true"]
    run = run_here(tmp_path, *training(manifest(tmp_path), *words))
    assert steps_with_a_loss(run) == rows
    for text in (run.log.read_text(), capsys.readouterr().err):
        found = LINE.findall(text)
        assert [(int(step), int(of)) for step, of, _ in found] == [(row, steps) for row in rows]
        assert all(re.fullmatch(r"\d+ (s|min) left", left) for *_, left in found[:-1]) and found[-1][2] == "the last"


def test_without_progress_the_lines_are_in_the_log_alone(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    run = run_here(tmp_path, *training(manifest(tmp_path), "stages.main.steps=2"))
    assert len(LINE.findall(run.log.read_text())) == 2 and not LINE.findall(capsys.readouterr().err)


def test_a_line_without_a_loss_says_so() -> None:
    line = progress_line("a", 3, 9, {"train/lr": 1e-3}, {"train/samples_per_second": 1234.5}, 90.0)
    assert line == "stage a, step 3 of 9: no supervised token, lr 0.001, 1.23e+03 samples/s, 2 min left"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (59, "59 s"), (61, "1 min"), (3540, "59 min"), (3599, "1 h 0 min"), (12000, "3 h 20 min"),
     (187200, "2 d 4 h")],
)  # fmt: skip
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_more_workers_than_cores_are_said_once_and_by_vlframe(tmp_path, monkeypatch, registry) -> None:
    monkeypatch.setattr(run_module, "cpus", lambda: SimpleNamespace(usable=0))
    words = [*training(manifest(tmp_path)), "stages.main.steps=1", "loader.workers=1", f"runs={tmp_path / 'runs'}"]
    run = run_module.train(compose("train", words, registry), registry)
    assert run.log.read_text().count("loader.workers is 1, and this process may use 0 CPU cores") == 1
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        quiet_lightning()
        DataLoader([1], num_workers=999)
    assert not caught
