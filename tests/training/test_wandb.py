"""What an offline W&B run holds, read back from its files and by W&B's own reader."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from helpers.clips import ClipSpec, write_clip, write_sound
from helpers.processes import vlframe, vlframe_anew
from helpers.runs import TINY, only_run, wait_for_steps
from helpers.studies import study_file
from helpers.wandb_files import exit_code, history_of, inspect, shown_table
from PIL import Image

from vlframe import Media, Sample, Turn
from vlframe.evaluation.evaluate import Prediction
from vlframe.runs.outcome import Outcome

wandb = pytest.importorskip("wandb")

COLUMNS = ["id", "category", "media", "question", "answers", "text", "parsed", "accuracy"]


def test_a_run_logs_config_scalars_and_predictions_with_media(tmp_path: Path) -> None:
    """More predictions than ``evaluation.media_in_tables``, of several kinds."""
    files = media_files(tmp_path)
    asked = [*(files[name] for name in ("clip.mp4", "photo.jpg", "clip.avi")), *[files["clip.mp4"]] * 4, None]
    rows = [row(number, file) for number, file in enumerate(asked)]
    file = tmp_path / "questions.json"
    file.write_text(json.dumps(rows))
    vlframe_anew(
        "train", *TINY, "dataset=conversations", f"dataset.path={file}", "+stage@stages.main=tune",
        "stages.main.steps=3", "stages.main.batch_size=1", "trainer.progress=false", "trainer.log_every=1",
        "benchmark=exact_match_file", f"benchmark.dataset.path={file}", "logger=wandb", "evaluation.media_in_tables=5",
        cwd=tmp_path, WANDB_MODE="offline", WANDB_DATA_DIR=str(tmp_path / "data"),
    )  # fmt: skip
    run = only_run(tmp_path)
    (offline,) = (run / "wandb").glob("offline-run-*")
    summary = inspect(offline, "--summary")[0]
    text = json.dumps(summary)
    assert '"connector"' in text and "stc" in text, "the config is not in the run"
    history = " ".join(json.dumps(record) for record in inspect(offline))
    for scalar in (
        "train/loss", "train/lr", "train/samples_per_second", "train/tokens_per_second", "train/data_wait_share",
        "train/peak_memory_gib", "eval/accuracy", "predictions",
    ):  # fmt: skip
        assert scalar in history, f"{scalar} was not logged"
    assert len(shown_table(offline)["data"]) == len(rows)
    staged = [path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file()]
    assert files["clip.mp4"].read_bytes() in staged, "the clip is not with its prediction"
    assert exit_code(offline) == 0
    kept = summary["summary"]
    assert [kept[f"run/{key}"] for key in ("outcome", "steps_done", "steps_asked")] == ["done", 3, 3]
    _is_who_it_is(offline, run)
    assert [(row["_step"], row["trainer/global_step"]) for row in history_of(offline)] == [(1, 1), (2, 2), (3, 3)]
    _an_evaluation_joins(tmp_path, run, offline)


def _is_who_it_is(offline: Path, run: Path) -> None:
    (record,) = [item["run"] for item in inspect(offline) if item["type"] == "run"]
    assert record["display_name"] == "default-vit_tiny-stc_tiny-tiny-seed0"
    assert (record["run_id"], record["run_group"], record["job_type"]) == (run.name, "default", "train")
    tags = set(record["tags"])
    assert {"connector=stc_tiny", "benchmark=exact_match_file", "seed=0"} <= tags and "audio_connector=mlp" not in tags
    config = inspect(offline, "--summary")[0]["config"]
    assert config["vlframe"] == json.loads((run / "versions.json").read_text())["vlframe"]
    assert config["vlframe"]["version"] and config["global_batch"] == {"main": 1}
    assert config["tokens_per_clip"] == json.loads((run / "metrics.json").read_text())["tokens_per_clip"]
    assert config["choices"]["connector"] == "stc_tiny" and "stages.main.steps=3" in config["words"]


def _an_evaluation_joins(folder: Path, run: Path, offline: Path) -> None:
    """Under the same id; offline its files hold the whole history, as they come in place of the earlier when sent."""
    before = (run / "metrics.csv").read_text()
    vlframe("evaluate", f"run={run}", "logger=wandb", "media.withhold=[video]", "media.frames=4", cwd=folder)
    (joined,) = {*(run / "wandb").glob("offline-run-*")} - {offline}
    (evaluation,) = (run / "evaluations").iterdir()
    whole = inspect(joined, "--summary")[0]
    assert whole["run_id"] == run.name and (run / "metrics.csv").read_text() == before
    earlier, later = history_of(offline), history_of(joined)
    assert [row.get("train/loss") for row in later] == [row.get("train/loss") for row in earlier]
    assert later[-1]["eval/accuracy"] == earlier[-1]["eval/accuracy"]
    name = f"evaluations/{evaluation.name}"
    assert later[-1][f"{name}/accuracy"] == json.loads((evaluation / "metrics.json").read_text())["accuracy"]
    assert whole["config"]["evaluations"][evaluation.name]["media.withhold"] == ["video"]
    assert whole["config"]["media"]["withhold"] == [] and f"{name}/predictions" in whole["summary"]
    assert whole["config"]["tokens_per_clip"] == inspect(offline, "--summary")[0]["config"]["tokens_per_clip"]
    assert whole["summary"]["run/outcome"] == "done" and exit_code(joined) == 0


class Service:
    """A run as W&B gives it to who resumes one whose steps it has up to ``steps``."""

    def __init__(self, steps: int, resumed: bool = True) -> None:
        self.starting_step, self.resumed = (steps + 1, True) if resumed else (0, False)
        self.rows: dict[int, dict] = {}

    def log(self, values: dict, step: int) -> None:
        assert step >= max([self.starting_step, *self.rows]), "W&B drops what is behind its newest row"
        self.rows.setdefault(step, {}).update(values)


def a_run_of(service: Service, folder: Path, steps: int) -> Any:
    from vlframe.training.metrics_file import MetricsFile
    from vlframe.training.wandb_runs import WandbRun

    metrics = MetricsFile(folder / "metrics.csv")
    for step in range(1, steps + 1):
        metrics.log_metrics({"train/loss": 10.0 - step}, step)
    return WandbRun(SimpleNamespace(experiment=service), metrics)


def test_a_resumed_run_goes_on_in_its_own_history(tmp_path: Path) -> None:
    """Killed after step 6, it goes on from its checkpoint at 4: W&B has 5 and 6 already."""
    service = Service(6)
    run = a_run_of(service, tmp_path, 4)
    for step in range(5, 9):
        run.log_metrics({"train/loss": 10.0 - step}, step)
        run.log_metrics({"train/rate": 1.0}, step)
    run.log_late({"eval/accuracy": 0.5}, 8)
    run.log_metrics({"lr-AdamW": 0.1}, 2)  # a callback that counts the steps of its stage
    assert service.rows == {
        7: {"train/loss": 3.0, "train/rate": 1.0, "trainer/global_step": 7},
        8: {"train/loss": 2.0, "train/rate": 1.0, "trainer/global_step": 8, "eval/accuracy": 0.5, "lr-AdamW": 0.1},
    }


def test_scores_of_a_run_that_the_service_has_whole_are_a_row(tmp_path: Path) -> None:
    service = Service(6)
    a_run_of(service, tmp_path, 6).log_late({"eval/accuracy": 0.5}, 6)
    assert service.rows == {7: {"eval/accuracy": 0.5, "trainer/global_step": 6}}


def test_a_service_that_does_not_know_the_run_gets_all_of_it(tmp_path: Path) -> None:
    service = Service(0, resumed=False)
    run = a_run_of(service, tmp_path, 3)
    run.log_metrics({"train/loss": 6.0}, 4)
    assert [(step, row["train/loss"], row["trainer/global_step"]) for step, row in service.rows.items()] == [
        (1, 9.0, 1), (2, 8.0, 2), (3, 7.0, 3), (4, 6.0, 4),
    ]  # fmt: skip


def test_a_name_says_what_tells_a_run_from_others() -> None:
    from vlframe.config.schema import RunConfig, SweepConfig
    from vlframe.training.wandb_identity import display_name, with_identity

    words = ("connector=stc_tiny", "seed=1", "+stage@stages.a=tune", "stages.a.lr=0.1")
    chosen = {"connector": "stc_tiny", "stage@stages.a": "tune", "experiment": "mine"}
    alone = RunConfig(name="mine", seed=1, choices=chosen, words=words, encoder={"name": "any"})
    assert display_name(alone) == "mine-stc_tiny-seed1"
    job = replace(alone, sweep=SweepConfig("/runs/sweeps/20260101-1200", 3, words))
    assert display_name(job) == "stc_tiny-seed1-tune-stages.a.lr=0.1"
    assert len(display_name(replace(job, sweep=SweepConfig("/x", 0, words * 9)))) == 128
    item = with_identity({"tags": ["mine"], "name": "given"}, job)
    assert (item["name"], item["group"]) == ("given", "sweep-20260101-1200")
    assert item["job_type"] == "stc_tiny-tune-stages.a.lr=0.1", "jobs that differ in the seed are of one type"
    assert item["tags"] == ["connector=stc_tiny", "experiment=mine", "seed=1", "mine"]
    assert with_identity({}, replace(job, sweep=SweepConfig("/x", 1, ("seed=1",))))["job_type"] == "train"


def test_a_run_of_a_study_is_in_its_group_and_of_its_cell() -> None:
    from vlframe.config.schema import RunConfig, SweepConfig
    from vlframe.training.wandb_identity import with_identity

    words = ("connector=stc, deep", "frames=8f", "seed=1")
    config = RunConfig(seed=1, choices={"connector": "stc_tiny"}, sweep=SweepConfig("/runs/studies/mine", None, words))
    config = replace(config, encoder={"name": "any"})
    assert with_identity({}, config) == {
        "name": "stc, deep 8f-seed1", "group": "mine", "job_type": "stc, deep 8f",
        "tags": ["connector=stc, deep", "frames=8f", "seed=1", "connector=stc_tiny"],
    }  # fmt: skip
    base = replace(config, sweep=SweepConfig("/runs/studies/mine", None, ("seed=1",)))
    assert with_identity({}, base)["job_type"] == "base"


@pytest.mark.parametrize("shown", [0, 2, 100])
@pytest.mark.parametrize(
    "names",
    [
        [],
        [None],
        ["clip.mp4"] * 4,
        [None, "clip.mp4", None],
        ["photo.jpg", "clip.mp4", "sound.wav"],
        ["clip.avi", "clip.mp4"],
        ["torn.jpg", "gone.mp4", "gone.png", "photo.jpg"],
        ["odd", "clip.mp4"],
    ],
    ids=str,
)
def test_a_table_has_every_row_whatever_the_media(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: list[str | None], shown: int
) -> None:
    files = media_files(tmp_path) | {name: tmp_path / name for name in ("gone.mp4", "gone.png")}
    files["odd"] = tmp_path / "clip-\udcff.mp4"  # a file name that is no UTF-8
    predictions = [prediction(number, files.get(name or "")) for number, name in enumerate(names)]
    offline, staged = logged(tmp_path, monkeypatch, predictions, shown)
    table = shown_table(offline)
    plain = [name for name in table["columns"] if name in COLUMNS]
    assert plain == COLUMNS[: len(COLUMNS) - (not names)]  # no prediction, no metric
    at = {name: table["columns"].index(name) for name in table["columns"]}
    assert [line[at["id"]] for line in table["data"]] == [f"q{number}" for number in range(len(names))]
    for line, item in zip(table["data"], predictions, strict=True):
        paths = [str(one.path).encode("utf-8", "backslashreplace").decode() for one in item.sample.media]
        assert line[at["media"]] == ", ".join(paths)
        assert line[at["parsed"]] == item.parsed and line[at["accuracy"]] is item.scores["accuracy"]
    kinds = {"clip.mp4": "video", "photo.jpg": "image", "sound.wav": "audio"}
    expected = {kinds[name] for name in names[:shown] if name in kinds}
    assert set(table["columns"]) - set(COLUMNS) == expected
    for name in names[:shown]:
        assert name not in kinds or files[name].read_bytes() in staged.values(), f"{name} is not with its prediction"
    if expected:
        whole, *_ = [json.loads(value) for value in staged.values() if value.startswith(b'{"_type": "table"')]
        types = whole["column_types"]["params"]["type_map"]
        told = {name: kind for name in expected for kind in [types[name]["params"]["allowed_types"]]}
        assert all("file" in json.dumps(told[name]) for name in expected), told


@pytest.mark.parametrize(
    ("words", "code", "outcome", "steps"),
    [
        (["stages.main.lr=1e30", "stages.main.max_grad_norm=0", "stages.main.steps=3"], 2, "failed", 1),
        pytest.param(
            *(["stages.main.steps=99999", "trainer.max_time=00:00:00:01"], 0, "stopped", None), marks=pytest.mark.slow
        ),
        (["stages.main.steps=99999"], 130, "stopped", None),
    ],
    ids=["failed", "out of time", "interrupted"],
)
def test_a_run_that_did_not_come_to_its_end_is_marked(
    tmp_path: Path, words: list[str], code: int, outcome: str, steps: int | None
) -> None:
    file = tmp_path / "text.json"
    file.write_text(json.dumps([row(0, None)]))
    process = subprocess.Popen(
        [
            str(Path(sys.executable).with_name("vlframe")), "train", *TINY, "dataset=conversations",
            f"dataset.path={file}", "+stage@stages.main=tune", "stages.main.batch_size=1", "trainer.progress=false",
            "trainer.log_every=1", "logger=wandb", *words,
        ],
        cwd=tmp_path, env={**os.environ, "WANDB_MODE": "offline", "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    if code == 130:
        wait_for_steps(tmp_path)
        os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=200)
    assert process.returncode == code, errors
    (offline,) = only_run(tmp_path).glob("wandb/offline-run-*")
    assert exit_code(offline) == code
    kept = inspect(offline, "--summary")[0]["summary"]
    asked = 3 if outcome == "failed" else 99999
    assert (kept["run/outcome"], kept["run/steps_asked"]) == (outcome, asked) and kept["run/why"]
    assert kept["run/steps_done"] == steps if steps is not None else 0 < kept["run/steps_done"] < asked
    if outcome == "failed":
        assert kept["run/failed_step"] == 2 and kept["train/loss"] == "NaN"


def test_a_study_logs_live_in_its_group(tmp_path: Path) -> None:
    file = study_file(tmp_path, base=("stages.main.steps=1", "debug.questions=2"), seeds=[3])
    words = ["study", "run", str(file), "logger=wandb", "cell=pool"]
    vlframe_anew(*words, cwd=tmp_path, WANDB_MODE="offline", WANDB_DATA_DIR=str(tmp_path / "data"))
    (offline,) = tmp_path.glob("runs/studies/*/cells/pool-*/*/wandb/offline-run-*")
    (record,) = [item["run"] for item in inspect(offline) if item["type"] == "run"]
    assert (record["run_group"], record["job_type"], record["display_name"]) == (tmp_path.name, "pool", "pool-seed3")
    assert {"connector=pool", "seed=3"} <= set(record["tags"])
    assert exit_code(offline) == 0 and history_of(offline)[-1]["_step"] == 1
    assert inspect(offline, "--summary")[0]["config"]["axes"] == {"connector": "pool"}


def media_files(folder: Path) -> dict[str, Path]:
    """One of each kind, and two that W&B cannot show."""
    write_clip(folder, ClipSpec("clip.mp4"))
    write_clip(folder, ClipSpec("clip.avi", codec="mpeg4"))
    write_sound(folder / "sound.wav", "pcm_s16le")
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(folder / "photo.jpg")
    (folder / "torn.jpg").write_bytes(b"\xff\xd8nothing")
    return {name: folder / name for name in ("clip.mp4", "sound.wav", "clip.avi", "photo.jpg", "torn.jpg")}


def row(number: int, file: Path | None) -> dict[str, Any]:
    kind = None if file is None else KINDS[file.suffix]
    tag = f"<{kind}>\n" if kind else ""
    turns = [{"from": "human", "value": f"{tag}what, {number}?"}, {"from": "gpt", "value": "red"}]
    return {"id": f"q{number}", "conversations": turns, **({kind: str(file)} if kind else {})}


KINDS = {".mp4": "video", ".avi": "video", ".jpg": "image", ".png": "image", ".wav": "audio"}


def prediction(number: int, file: Path | None) -> Prediction:
    """Every third is no answer, every second has a category."""
    media = () if file is None else (Media(KINDS[file.suffix], file),)
    turn = Turn("user", "".join(f"<{item.kind}>" for item in media) + "what?")
    sample = Sample(f"q{number}", (turn,), media, "red", (), "some" if number % 2 else "")
    return Prediction(sample, "red \U0001f534", None if number % 3 == 0 else "red", {"accuracy": number % 3 != 0})


def logged(
    folder: Path, monkeypatch: pytest.MonkeyPatch, predictions: list[Prediction], shown: int
) -> tuple[Path, dict[Path, bytes]]:
    """The folder of an offline run with a table of these predictions, and the files W&B would send."""
    from lightning.pytorch.loggers import WandbLogger

    from vlframe.training.wandb_runs import WandbRun

    wandb.teardown()  # what it was set up with by an earlier test
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_DATA_DIR", str(folder / "data"))
    run = WandbRun(WandbLogger(save_dir=str(folder), project="test"))
    run.log_predictions(predictions, shown)
    run.finish(Outcome("done", "", 1, 1, 0))
    wandb.teardown()  # or processes started later would join its service
    (offline,) = (folder / "wandb").glob("offline-run-*")
    return offline, {path: path.read_bytes() for path in (folder / "data").rglob("*") if path.is_file()}
