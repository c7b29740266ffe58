"""What ``vlframe wandb push`` makes of recorded runs: its offline files against the folders, by W&B's own reader."""

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.clips import ClipSpec, write_clip, write_sound
from helpers.processes import vlframe
from helpers.runs import manifest, only_run, training
from helpers.studies import pretended, study_file
from helpers.wandb_files import exit_code, history_of, inspect
from PIL import Image

import vlframe.training.run as training_run
from vlframe.cli import main
from vlframe.config.typed import read_yaml
from vlframe.evaluation.scores import Evaluation
from vlframe.runs.folder import RunFolder
from vlframe.runs.outcome import Outcome
from vlframe.studies.ledger import entries
from vlframe.studies.study import read_study

wandb = pytest.importorskip("wandb")

TWO = {"connector": {"stc": "connector=stc_tiny", "pool": "connector=pool_tiny"}}
CURVE = 'step,train/loss,"eval/accuracy/left, then right"\n1,2.5,\n2,nan,\n4,0.125,0.5\n'


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    wandb.teardown()  # what it was set up with by an earlier test
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "settings"))
    for name in ("WANDB_MODE", "WANDB_PROJECT", "WANDB_ENTITY", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    yield tmp_path
    wandb.teardown()


@pytest.fixture
def study(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two cells with two seeds that are done, with curves and answers about a picture, a clip, a sound and others."""
    monkeypatch.setattr(training_run, "train", pretended(lambda config, call: call / 8))
    file = study_file(here, TWO, seeds=[0, 1])
    assert main(["study", "run", str(file)]) == 0
    for folder in runs_of(file):
        folder.metrics_csv.write_text(CURVE)
        with_media(folder, here)
    return file


def runs_of(file: Path) -> list[RunFolder]:
    return [RunFolder(entry.run) for entry in entries(read_study(file).folder) if entry.run]


def with_media(folder: RunFolder, place: Path) -> None:
    """Give the first answers their media: those of a kind each, an animation, a file that W&B cannot show, none."""
    files = [place / name for name in ("clip.mp4", "photo.jpg", "sound.ogg", "moves.gif", "clip.avi")]
    if not files[0].exists():
        write_clip(place, ClipSpec("clip.mp4"))
        write_clip(place, ClipSpec("clip.avi", codec="mpeg4"))
        write_sound(files[2], "flac")
        pictures = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
        pictures[0].save(files[1])
        pictures[0].save(files[3], save_all=True, append_images=pictures[1:])
    rows = [json.loads(line) for line in folder.predictions.read_text().splitlines()]
    for row, file in zip(rows, files, strict=False):
        row["media"] = [str(file)]
    folder.predictions.write_text("".join(json.dumps(row) + "\n" for row in rows))


def push(*words: str) -> int:
    inspect.cache_clear()
    return main(["wandb", "push", *words, "mode=offline"])


def offline_of(folder: RunFolder) -> Path:
    (offline,) = (folder.path / "wandb").glob("offline-run-*")
    return offline


def record_of(folder: RunFolder) -> dict[str, Any]:
    (record,) = [item["run"] for item in inspect(offline_of(folder)) if item["type"] == "run"]
    return record


def shown(folder: RunFolder) -> dict[str, Any]:
    return inspect(offline_of(folder), "--summary")[0]


def leaves(values: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(values, dict) or not values:
        return {prefix: values}
    return {key: leaf for name, value in values.items() for key, leaf in leaves(value, f"{prefix}/{name}").items()}


def test_a_study_is_pushed_as_it_was_recorded(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert push(str(study), "project=mine") == 0
    assert "4 run(s) pushed to mine, offline" in capsys.readouterr().out
    every: list[set[str]] = []
    for folder in runs_of(study):
        _has_its_curve_and_scores(folder)
        _has_its_answers(folder)
        own, config = leaves(read_yaml(folder.config)), leaves(shown(folder)["config"])
        assert {key: config[key] for key in own if own[key] != {}} == {key: own[key] for key in own if own[key] != {}}
        every.append({key for key in config if not key.startswith("/_wandb")})
        assert config["/tokens_per_clip"] == 16 and config["/vlframe/version"]
    assert all(keys == every[0] for keys in every)
    pool, stc = (leaves(shown(folder)["config"]) for folder in runs_of(study)[::2])
    assert pool["/connector/name"] != stc["/connector/name"]
    assert [key for key in stc if key.startswith("/connector/") and pool[key] is None and stc[key] is not None]
    records = {item["display_name"]: item for item in map(record_of, runs_of(study))}
    assert set(records) == {"stc-seed0", "stc-seed1", "pool-seed0", "pool-seed1"}
    one = records["pool-seed1"]
    name = read_study(study).folder.name
    assert (one["run_group"], one["job_type"], one["project"]) == (name, "pool", "mine")
    assert {"connector=pool", "seed=1"} <= set(one["tags"])
    assert {item["run_id"] for item in records.values()} == {
        entry.digest for entry in entries(read_study(study).folder)
    }


def _has_its_curve_and_scores(folder: RunFolder) -> None:
    rows = list(csv.DictReader(folder.metrics_csv.read_text().splitlines()))
    scores = Evaluation.from_tree(json.loads(folder.scores.read_text())).flat()
    history = history_of(offline_of(folder))
    assert [item["_step"] for item in history] == [item["trainer/global_step"] for item in history] == [1, 2, 4]
    for row, item in zip(rows, history, strict=True):
        for key, cell in row.items():
            if key != "step" and cell:
                assert str(float(item[key])) == str(float(cell)), key
        assert {key for key in item if key.startswith(("train/", "eval/"))} == {
            key for key in row if key != "step" and row[key]
        } | ({f"eval/{key}" for key in scores} if item is history[-1] else set())
    summary = shown(folder)["summary"]
    assert scores.items() >= {"accuracy_low": 0.0, "accuracy_high": 1.0}.items()
    assert all(summary[f"eval/{key}"] == history[-1][f"eval/{key}"] == value for key, value in scores.items())
    assert (summary["run/outcome"], summary["run/steps_done"], exit_code(offline_of(folder))) == ("done", 6, 0)


def _has_its_answers(folder: RunFolder) -> None:
    (file,) = (offline_of(folder) / "files" / "media" / "table").glob("predictions*.table.json")
    table = json.loads(file.read_text())
    lines = [dict(zip(table["columns"], line, strict=True)) for line in table["data"]]
    rows = [json.loads(line) for line in folder.predictions.read_text().splitlines()]
    for line, row in zip(lines, rows, strict=True):
        same = {key: row[key] for key in ("id", "category", "question", "text", "parsed")}
        assert {key: line[key] for key in same} == same and line["accuracy"] is row["scores"]["accuracy"]
        assert line["answers"] == " | ".join(row["answers"]) and line["media"] == ", ".join(row["media"])
    kinds = [[kind for kind in ("video", "image", "audio") if line[kind]] for line in lines[:6]]
    assert kinds == [["video"], ["image"], ["audio"], ["video"], [], []], "an animation is a video, sound is no video"


def test_a_second_push_changes_nothing_and_a_changed_run_is_the_same_run(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert push(str(study)) == 0
    files = {folder.path: (offline_of(folder), record_of(folder)["run_id"]) for folder in runs_of(study)}
    capsys.readouterr()
    assert push(str(read_study(study).folder)) == 0, "its folder names it as its file does"
    assert "0 run(s) pushed to vlframe, offline; 4 unchanged" in capsys.readouterr().out
    assert {folder.path: offline_of(folder) for folder in runs_of(study)} == {
        key: old for key, (old, _) in files.items()
    }
    first, *others = runs_of(study)
    first.metrics_csv.write_text(CURVE + "5,0.0625,\n")
    assert push(str(study)) == 0
    assert "1 run(s) pushed to vlframe, offline; 3 unchanged" in capsys.readouterr().out
    assert record_of(first)["run_id"] == files[first.path][1] and not files[first.path][0].exists()
    assert [row["_step"] for row in history_of(offline_of(first))] == [1, 2, 4, 5]
    assert all(offline_of(folder) == files[folder.path][0] for folder in others)
    shutil.rmtree(offline_of(first))
    assert push(str(first.path), "project=vlframe") == 0 and record_of(first)["run_id"] == files[first.path][1]


def test_what_cannot_be_pushed_is_said_and_the_rest_is(
    study: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pool, other_pool, stc, other = runs_of(study)
    pool.metrics_csv.unlink()
    stc.metrics_csv.write_text("step,train/loss\n1,2.5\n2,what\n3,0.5\n4,0.2")
    lines = stc.predictions.read_text().splitlines()
    stc.predictions.write_text("\n".join([*lines[:6], '{"id": "q6", "bench', *lines[7:]]) + "\n")
    shutil.rmtree(other.path)
    other_pool.scores.write_text("{")
    (here / "clip.mp4").unlink()
    assert push(str(study)) == 3
    said = capsys.readouterr()
    assert "3 run(s) pushed" in said.out and "could not be pushed, and are said above; all else was" in said.err
    for sentence in (
        f"{pool.path} has no metrics.csv, so there are no curves of it",
        f"line 3 of {stc.metrics_csv} cannot be read and is left out",
        f"line 5 of {stc.metrics_csv} cannot be read and is left out",
        f"line 7 of {stc.predictions} cannot be read and is left out",
        f"1 media file(s) of {stc.predictions} are gone: {here / 'clip.mp4'}",
        f"{other_pool.scores} cannot be read and is left out: JSONDecodeError",
        f"stc, seed 1 has no run to push: its run folder {other.path} is gone",
    ):
        assert said.err.count(sentence) == 1, sentence
    assert [row["_step"] for row in history_of(offline_of(stc))] == [1, 3]
    assert [row["_step"] for row in history_of(offline_of(other_pool))] == [1, 2, 4]
    (table,) = (offline_of(stc) / "files" / "media" / "table").glob("predictions*.table.json")
    assert len(json.loads(table.read_text())["data"]) == 39


def test_how_a_run_ended_is_its_state(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ends = [
        (Outcome("failed", "the loss is nan", 2, 6, 2), 2, "failed"),
        (Outcome("stopped", "SIGTERM", 3, 6, 143), 143, "stopped"),
        (Outcome("stopped", "trainer.max_time is over", 3, 6, 0), 0, "stopped"),
        (Outcome("running", "", 1, 6), 1, "running"),
    ]
    for folder, (outcome, _, _) in zip(runs_of(study), ends, strict=True):
        outcome.write(folder)
    assert push(str(study)) == 0
    for folder, (outcome, code, state) in zip(runs_of(study), ends, strict=True):
        summary = shown(folder)["summary"]
        assert (exit_code(offline_of(folder)), summary["run/outcome"]) == (code, state)
        assert summary["run/why"] == (outcome.why or "is running, or was killed")
    capsys.readouterr()


def test_secrets_are_not_pushed(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret, key = "s3cret-of-the-environment", "hf_" + "a1B2" * 8
    monkeypatch.setenv("SOME_TOKEN", secret)
    folder = runs_of(study)[0]
    folder.config.write_text(
        folder.config.read_text().replace("words:", f"words:\n- other.api_key={key}\n- note={secret}", 1)
    )
    lines = folder.predictions.read_text().replace('"text": "red"', f'"text": "it is {secret} {key}"')
    folder.predictions.write_text(lines)
    Outcome("failed", f"no access with {secret}", 1, 6, 2).write(folder)
    assert push(str(folder.path)) == 0
    config = shown(folder)["config"]
    assert "note=***" in config["words"] and shown(folder)["summary"]["run/why"] == "no access with ***"
    for file in [*offline_of(folder).rglob("*"), *(Path.cwd() / "data").rglob("*")]:
        if file.is_file():
            assert secret.encode() not in file.read_bytes() and key.encode() not in file.read_bytes(), file


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["pull", "x"], "vlframe wandb does push, and not 'pull'"),
        (["push", "mode=offline"], "needs run folders, a sweep or a study"),
        (["push", "nowhere", "mode=offline"], "'nowhere' is no run folder"),
        (["push", "nowhere", "projekt=x"], "knows project, entity, mode, not 'projekt'. Did you mean 'project'?"),
        (["push", "nowhere", "mode=ofline"], "mode is 'ofline'; it can be online, offline. Did you mean 'offline'"),
        (["push", "nowhere", "--workspaces"], "has no option --workspaces"),
        (["push", "nowhere"], "vlframe wandb push: nobody is logged in to Weights & Biases on this machine"),
    ],
)
def test_a_mistake_is_one_sentence(words: list[str], said: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["wandb", *words]) == 2
    errors = capsys.readouterr().err
    assert said in errors and errors.count("\n") == 1
    assert not list(here.rglob("wandb"))


def test_runs_without_a_study_and_a_resumed_one(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """After two processes and an evaluation under other settings it is one run, the same as before."""
    words = manifest(here)
    asked = ["benchmark=exact_match_file", f"benchmark.dataset.path={words}", "stages.main.steps=2"]
    vlframe("train", *training(words), *asked, cwd=here)
    folder = RunFolder(only_run(here))
    assert push("runs") == 0
    before = record_of(folder)
    assert (before["display_name"], before["job_type"]) == ("default-vit_tiny-stc_tiny-tiny-seed0", "train")
    more = ["+stage@stages.more=tune", "stages.more.steps=2", "stages.more.batch_size=2"]
    vlframe("train", f"resume={folder.path}", *more, cwd=here)
    vlframe("evaluate", f"run={folder.path}", "benchmark.post_prompt=shortly", cwd=here)
    assert push("runs/default") == 0
    history = history_of(offline_of(folder))
    assert record_of(folder)["run_id"] == before["run_id"] and [row["_step"] for row in history] == [1, 2, 3, 4]
    (evaluation,) = (folder.path / "evaluations").iterdir()
    flat = json.loads((evaluation / "metrics.json").read_text())
    summary = shown(folder)["summary"]
    assert flat and all(summary[f"evaluations/{evaluation.name}/{key}"] == value for key, value in flat.items())
    config = shown(folder)["config"]
    assert config["evaluations"][evaluation.name]["benchmark.post_prompt"] == "shortly"
    assert config["stages"]["more"]["steps"] == 2 and f"evaluations/{evaluation.name}/predictions" in summary
    capsys.readouterr()
    assert push(str(evaluation)) == 0 and "1 unchanged" in capsys.readouterr().out
    twin = folder.path.with_name("20000101-000000-aaaaaa")
    shutil.copytree(folder.path, twin, ignore=shutil.ignore_patterns("wandb"))
    assert push("runs") == 0
    assert f"{twin.relative_to(here)} is left out: {folder.path.relative_to(here)} is the same run" in (
        capsys.readouterr().out
    )
