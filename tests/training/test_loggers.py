"""What is written or logged after the work is done ends no run and loses no answer; and every run says how it ended."""

import csv
import json
import math
import os
import signal
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from helpers.clips import ClipSpec, write_clip
from helpers.processes import Command, vlframe
from helpers.runs import manifest, only_run, training, wait_for_steps
from lightning.pytorch.loggers import CSVLogger

from vlframe import Sample, Turn
from vlframe.commands.evaluate import evaluate
from vlframe.composer.compose import compose, open_registry
from vlframe.errors import ConfigError, DataError, OutputError, TrainingError
from vlframe.evaluation import run as evaluation
from vlframe.inference.generate import question
from vlframe.runs.checkpoint import latest
from vlframe.runs.folder import RunFolder
from vlframe.training import instantiate
from vlframe.training.comet_login import check_comet
from vlframe.training.run import train
from vlframe.training.stopping import Stop

CSV = ["+logger.csv._target_=lightning.pytorch.loggers.CSVLogger", "+logger.csv.name=csv"]


def run_here(folder: Path, *words: str, stop: Stop | None = None) -> RunFolder:
    registry = open_registry()
    words = [*training(manifest(folder), "stages.main.steps=3", *words), f"runs={folder / 'runs'}"]
    return train(compose("train", words, registry), registry, stop)


def scored(folder: Path) -> list[str]:
    return ["benchmark=exact_match_file", f"benchmark.dataset.path={manifest(folder)}", "benchmark.max_new_tokens=3"]


def outcome(run: Path) -> dict[str, Any]:
    return json.loads((run / "outcome.json").read_text())


@pytest.mark.parametrize("method", ["log_metrics", "save", "finalize"])
def test_a_logger_that_fails_ends_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise TypeError("no such\nthing")

    monkeypatch.setattr(CSVLogger, method, refuse)
    with pytest.raises(OutputError, match="logging to CSVLogger") as caught:
        run_here(tmp_path, *CSV, *scored(tmp_path))
    assert caught.value.exit_code == 3
    run = RunFolder.open(only_run(tmp_path))
    assert latest(run).finished and json.loads(run.metrics_json.read_text())["n"] == 6
    assert run.log.read_text().count("logging to CSVLogger failed: TypeError: no such thing") == 1
    found = outcome(run.path)
    assert "; some results could not be written or logged: logging to CSVLogger" in found["why"]
    assert found | {"why": ""} == {"state": "done", "why": "", "steps_done": 3, "steps_asked": 3, "exit_code": 3}
    assert [row["step"] for row in csv.DictReader(run.metrics_csv.open()) if row["train/loss"]] == ["1", "2", "3"]


@pytest.mark.parametrize("broken", ["write_text", "write_json"])
def test_a_file_of_results_that_cannot_be_written_loses_none_of_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    def refuse(path: Path, _: Any) -> None:
        raise OSError(28, f"No space left on device: {path.name}")

    monkeypatch.setattr(evaluation, broken, refuse)
    with pytest.raises(
        OutputError, match="predictions.jsonl" if broken == "write_text" else r"scores.json, metrics.json"
    ):
        run_here(tmp_path, *scored(tmp_path))
    run = RunFolder.open(only_run(tmp_path))
    assert run.predictions.is_file() == (broken == "write_json") and run.scores.is_file() == (broken == "write_text")
    assert "accuracy" in run.log.read_text()  # the table
    registry = open_registry()
    with pytest.raises(OutputError):
        evaluate(compose("evaluate", [f"run={run.path}"], registry), registry)
    monkeypatch.undo()
    evaluate(compose("evaluate", [f"run={run.path}"], registry), registry)
    assert run.predictions.is_file() and run.scores.is_file() and run.metrics_json.is_file()


def test_a_file_name_that_is_no_unicode_is_in_the_predictions(tmp_path: Path) -> None:
    write_clip(tmp_path, ClipSpec("clip.mp4"))
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/clip-\xff.mp4"))
    (tmp_path / "clip.mp4").rename(odd)
    turns = [{"from": "human", "value": "<video>what?"}, {"from": "gpt", "value": "red"}]
    rows = [{"id": "odd", "video": odd.name, "conversations": turns}]
    questions = tmp_path / "odd.json"
    questions.write_text(json.dumps(rows))
    run = run_here(tmp_path, "benchmark=exact_match_file", f"benchmark.dataset.path={questions}")
    (row,) = map(json.loads, run.predictions.read_text(encoding="utf-8").splitlines())
    assert Path(row["media"][0]) == odd and Path(row["media"][0]).is_file()


def test_a_run_that_failed_says_so_with_the_step_and_its_loss(tmp_path: Path) -> None:
    with pytest.raises(TrainingError):
        run_here(tmp_path, "stages.main.lr=1e30", "stages.main.max_grad_norm=0", *CSV)
    run = only_run(tmp_path)
    said = outcome(run)
    assert said["state"] == "failed" and said["exit_code"] == 2 and "the loss is nan" in said["why"]
    assert (said["steps_done"], said["steps_asked"]) == (1, 3)
    for file in (run / "metrics.csv", next(run.glob("csv/**/metrics.csv"))):
        last = list(csv.DictReader(file.open()))[-1]
        assert (float(last["run/failed_step"]), float(last["step"])) == (2, 2) and math.isnan(float(last["train/loss"]))


def test_a_stage_without_any_sample_fails_at_its_last_step(tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "<video>\nwhat?"}, {"from": "gpt", "value": "red"}]
    file = manifest(tmp_path, video="gone.mp4", conversations=turns)
    words = ["media.on_error=skip", "media.max_bad_share=null", "stages.main.steps=3", f"runs={tmp_path / 'runs'}"]
    registry = open_registry()
    config = compose("train", [*training(file), *words], registry)
    with pytest.raises(DataError, match="had no usable sample"):
        train(config, registry)
    run = only_run(tmp_path)
    assert (outcome(run)["steps_done"], outcome(run)["steps_asked"]) == (3, 3)
    last = list(csv.DictReader((run / "metrics.csv").open()))[-1]
    assert (float(last["run/failed_step"]), float(last["step"])) == (3, 3)


def test_a_run_that_was_stopped_says_by_what_and_a_resumed_one_is_done(tmp_path: Path) -> None:
    run = run_here(tmp_path, stop=Stop(step=2))
    said = {"state": "stopped", "why": "it was to stop after step 2", "steps_done": 2, "steps_asked": 3, "exit_code": 0}
    assert outcome(run.path) == said
    registry = open_registry()
    train(compose("train", [f"resume={run.path}"], registry), registry)
    why = "stage main changed no weight of connector"  # no row has media
    assert outcome(run.path) == {"state": "done", "why": why, "steps_done": 3, "steps_asked": 3, "exit_code": 0}


def test_a_run_is_running_until_a_signal_stops_it(tmp_path: Path) -> None:
    process = Command(
        "train", *training(manifest(tmp_path), "stages.main.epochs=9999", "stages.main.steps=null"), cwd=tmp_path
    )
    wait_for_steps(tmp_path)
    run = only_run(tmp_path)
    assert outcome(run)["state"] == "running"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    said = outcome(run)
    assert (said["state"], said["why"], said["exit_code"]) == ("stopped", "it was stopped by SIGINT", 130)
    assert 0 < said["steps_done"] == latest(RunFolder.open(run)).step < said["steps_asked"] == 29997


def test_a_benchmark_that_fails_leaves_a_failed_run_with_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(evaluation, "ask", refuse)
    with pytest.raises(RuntimeError, match="a bug"):
        run_here(tmp_path, *scored(tmp_path))
    run = only_run(tmp_path)
    assert outcome(run) | {"why": ""} == {
        "state": "failed", "why": "", "steps_done": 3, "steps_asked": 3, "exit_code": 1,
    }  # fmt: skip
    assert latest(RunFolder.open(run)).finished


@pytest.mark.parametrize(
    ("logger", "package", "said"),
    [
        ("wandb", "wandb", ["wandb login", "WANDB_API_KEY", "WANDB_MODE=offline"]),
        ("tensorboard", None, ["TensorBoard"]),
    ],
)
def test_a_logger_that_cannot_begin_is_one_sentence_and_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logger: str, package: str | None, said: list[str]
) -> None:
    if package:
        pytest.importorskip(package)
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "wandb"))
    monkeypatch.setattr("lightning.pytorch.loggers.tensorboard._TENSORBOARD_AVAILABLE", False)
    monkeypatch.setattr("lightning.fabric.loggers.tensorboard._TENSORBOARD_AVAILABLE", False)
    monkeypatch.setattr("lightning.fabric.loggers.tensorboard._TENSORBOARDX_AVAILABLE", False)
    with pytest.raises(ConfigError) as caught:
        run_here(tmp_path, f"logger={logger}")
    assert all(word in str(caught.value) for word in said) and "\n" not in str(caught.value)
    assert not (tmp_path / "runs").exists()


COMET = "+logger.c._target_=lightning.pytorch.loggers.CometLogger"


def test_comet_is_asked_for_its_login_before_there_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its logger begins an experiment when it is built, so it is not built for a trial."""
    monkeypatch.setitem(sys.modules, "comet_ml", None)
    with pytest.raises(ConfigError, match="c: CometLogger needs a package that is not installed: pip install comet-ml"):
        run_here(tmp_path, COMET)
    comet = ModuleType("comet_ml.config")
    settings: dict[str, Any] = {"comet.api_key": None, "comet.start.online": None}
    comet.get_config = settings.get
    monkeypatch.setitem(sys.modules, "comet_ml", ModuleType("comet_ml"))
    monkeypatch.setitem(sys.modules, "comet_ml.config", comet)
    with pytest.raises(ConfigError, match=r"c: nobody is logged in to Comet.*COMET_API_KEY.*logger\.c\.online=false"):
        run_here(tmp_path, COMET)
    assert not (tmp_path / "runs").exists()
    check_comet("c", {"online": False})
    settings["comet.start.online"] = False
    check_comet("c", {})
    with pytest.raises(ConfigError, match="nobody is logged in"):
        check_comet("c", {"online": True})
    settings |= {"comet.start.online": None, "comet.api_key": "key"}
    check_comet("c", {})


def test_a_logger_that_lightning_has_not_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no WandbLoger; it has CSVLogger, .*Did you mean 'WandbLogger'"):
        run_here(tmp_path, "+logger.c._target_=lightning.pytorch.loggers.WandbLoger")
    with pytest.raises(ConfigError, match="lit: LitLogger needs a package that is not installed"):
        run_here(tmp_path, "+logger.lit._target_=lightning.pytorch.loggers.LitLogger")
    assert not (tmp_path / "runs").exists()


def test_mlflow_keeps_a_run_in_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where names of ours have characters that it refuses; without leave to write files it is one sentence."""
    pytest.importorskip("mlflow")
    words = [
        "+logger.mlflow._target_=lightning.pytorch.loggers.MLFlowLogger",
        f"+logger.mlflow.tracking_uri=file:{tmp_path}/mlruns", "+logger.mlflow.experiment_name=mine",
    ]  # fmt: skip
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE", raising=False)
    with pytest.raises(ConfigError, match="MLFLOW_ALLOW_FILE_STORE"):
        run_here(tmp_path, *scored(tmp_path), *words)
    assert not (tmp_path / "runs").exists()
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    run_here(tmp_path, *scored(tmp_path), *words)
    run = only_run(tmp_path)
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"file:{tmp_path}/mlruns")
    experiment = client.get_experiment_by_name("mine")
    assert experiment is not None
    (logged,) = client.search_runs([experiment.experiment_id])
    assert logged.info.status == "FINISHED" and logged.data.params["choices/stage_stages.main"] == "tune"
    assert logged.data.params["seed"] == "0"
    rows = list(csv.DictReader((run / "metrics.csv").read_text().splitlines()))
    for key in rows[0].keys() - {"step"}:
        found = {item.step: item.value for item in client.get_metric_history(logged.info.run_id, key.replace("/", "."))}
        assert found == {int(row["step"]): float(row[key]) for row in rows if row[key]}, key


def test_text_that_is_no_unicode_is_refused_by_its_place(tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "say red \ud83d"}, {"from": "gpt", "value": "red"}]
    (tmp_path / "half.json").write_text(json.dumps([{"id": "half", "conversations": turns}]))
    words = training(tmp_path / "half.json")
    done = vlframe("train", *words, cwd=tmp_path, check=False)
    checked = vlframe("data", "check", *words, cwd=tmp_path, check=False)
    for text in (done.stderr, checked.stdout):
        assert "half.json, line 1" in text and "its user turn is no Unicode" in text and r"\ud83d" in text
    assert done.returncode == 2 and "Traceback" not in done.stderr and checked.returncode == 1


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"id": "a\ud83d"}, "its id"),
        ({"turns": (Turn("user", "ok"), Turn("assistant", "\udc00"))}, "its assistant turn"),
        ({"answer": "\ud83d"}, "its answer"),
        ({"options": ("a", "b\ud83d")}, "one of its options"),
        ({"category": "\ud83d"}, "its category"),
    ],
)
def test_every_text_of_a_sample_is_unicode(values: dict[str, Any], field: str) -> None:
    with pytest.raises(DataError, match=f"{field} is no Unicode"):
        Sample(**{"id": "a", "turns": (Turn("user", "whole: \U0001f534"),), **values})
    with pytest.raises(DataError, match="its user turn is no Unicode"):
        question([], "what \ud83d?")


def test_a_logger_whose_package_is_not_installed_names_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    class WandbLogger(CSVLogger):
        def __init__(self) -> None:
            raise ModuleNotFoundError("Requirement 'wandb>=0.12.10' not met. HINT: Try running pip install -U wandb")

    monkeypatch.setattr(instantiate, "class_of", lambda name, target: WandbLogger)
    with pytest.raises(ConfigError, match=r"not installed: pip install 'vlframe\[wandb\]'$"):
        instantiate.instantiate({"wandb": {"_target_": "lightning.pytorch.loggers.WandbLogger"}})
