"""A run that goes on by another config than it began with: what is taken, what is refused, and what the folder says."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch
from helpers.runs import manifest, training, weights

from vlframe.cli import main
from vlframe.composer.compose import compose, open_registry
from vlframe.config.schema import RunConfig
from vlframe.config.typed import frozen, plain, read_yaml, typed
from vlframe.errors import ConfigError
from vlframe.runs.changes import differences
from vlframe.runs.checkpoint import latest
from vlframe.runs.folder import RunFolder
from vlframe.training.run import train
from vlframe.training.stopping import Stop

WORDS = ["stages.main.steps=4", "stages.main.warmup_ratio=0", "trainer.checkpoint_every=1"]


def run(arguments: list[str], stop: Stop | None = None) -> RunFolder:
    registry = open_registry()
    return train(compose("train", arguments, registry), registry, stop)


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """At step 2 of the 4 of its first stage; the second is to come."""
    place = tmp_path_factory.mktemp("half")
    second = ["+stage@stages.second=tune", "stages.second.steps=1", "stages.second.batch_size=2"]
    return run(training(manifest(place), *WORDS, *second, f"runs={place / 'runs'}"), Stop(step=2))


@pytest.fixture
def halfway(half: RunFolder, tmp_path: Path) -> RunFolder:
    """A copy to spoil."""
    return RunFolder.open(shutil.copytree(half.path, tmp_path / "run"))


def rows(folder: RunFolder) -> list[dict[str, str]]:
    with open(folder.metrics_csv, newline="") as file:
        return list(csv.DictReader(file))


def test_what_computes_nothing_is_taken_and_said(halfway: RunFolder, capsys: pytest.CaptureFixture) -> None:
    before = halfway.read_config()
    run([
        f"resume={halfway.path}", "trainer.checkpoint_every=50", "trainer.keep_checkpoints=1", "loader.workers=1",
        "+logger.more._target_=lightning.pytorch.loggers.CSVLogger", "stages.second.steps=2",
        "+stage@stages.third=tune", "stages.third.steps=1", "seed=0",
    ])  # fmt: skip
    printed = capsys.readouterr().err
    assert "changed: trainer.checkpoint_every: 1 -> 50" in printed and "changed: stages.second.steps: 1 -> 2" in printed
    assert "changed: logger.more: (absent) -> " in printed and "changed: stages.third: (absent)" in printed
    assert "seed" not in printed, "seed=0 is no change"
    after = halfway.read_config()
    assert after.trainer.checkpoint_every == 50 and list(after.stages) == ["main", "second", "third"]
    assert "more" in after.logger and after.resume is None
    assert RunFolder(halfway.path).read_config() == latest_config(halfway)
    (earlier,) = halfway.path.glob("config-until-*.yaml")
    assert earlier.name == "config-until-00-main-0000002.yaml" and plain(before) == read_yaml(earlier)
    (change,) = [json.loads(line) for line in halfway.changes.read_text().splitlines()]
    assert change["changes"]["loader.workers"] == [0, 1] and change["checkpoint"] == "00-main-0000002"
    assert [int(row["step"]) for row in rows(halfway)] == list(range(1, 8))
    assert list((halfway.path / "lightning_logs").rglob("metrics.csv"))


def latest_config(folder: RunFolder) -> RunConfig:
    return frozen(RunConfig, typed(RunConfig, read_yaml(latest(folder).path / "config.yaml")))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["seed=1"], r"seed: 0 -> 1 would change what the run computes.*resume_changes=allow.*init\.run="),
        (["stages.main.steps=9"], r"stages\.main\.steps: 4 -> 9 would change"),
        (["stages.main.lr=0.5", "text.too_long=drop"], r"text\.too_long: .*; stages\.main\.lr: 0\.001 -> 0\.5 would"),
        (["trainer.devices=2"], r"trainer\.devices: 1 -> 2 would"),
        (["dataset.path=other.jsonl"], r"dataset\.path: .* would"),
        (["connector=mlp"], r"connector\.name: 'stc' -> 'mlp' is not possible: the checkpoint holds another connector"),
        (["audio_encoder=beats_tiny"], r"audio_encoder: None -> .* is not possible"),
        (["+callbacks.stop._target_=lightning.pytorch.callbacks.EarlyStopping"], r"callbacks\.stop.* would change"),
    ],
)  # fmt: skip
def test_what_computes_something_else_is_refused(half: RunFolder, words: list[str], message: str) -> None:
    before = {path: path.read_bytes() for path in half.path.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match=message):
        run([f"resume={half.path}", *words])
    assert before == {path: path.read_bytes() for path in half.path.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["connector=mlp"], "another connector"),
        (["stages.main.llm.train=lora"], "under way, and its optimizer was made for it"),
        (["stages.main.accumulate_grad_batches=2"], "under way"),
        (["stages.main.steps=2"], "at step 2 already"),
        (["init.run=somewhere"], "has already begun"),
    ],
)
def test_some_changes_cannot_be_even_when_told(half: RunFolder, words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run([f"resume={half.path}", "resume_changes=allow", *words])


def test_a_change_that_is_told_takes_effect_and_stays(halfway: RunFolder, capsys: pytest.CaptureFixture) -> None:
    """The rate of the optimizer and of the schedule is the new one, also after the next resumption."""
    words = ["stages.main.lr=0.002", "stages.main.llm.lr=0.004", "stages.main.steps=5", "stages.main.final_lr_ratio=1"]
    run([f"resume={halfway.path}", "resume_changes=allow", *words], Stop(step=3))
    assert halfway.read_config().resume_changes == "refuse"
    assert "changed: stages.main.lr: 0.001 -> 0.002" in capsys.readouterr().err
    # As if killed before its first checkpoint: the newest is from before the change, which is known all the same.
    shutil.rmtree(latest(halfway).path)
    assert latest_config(halfway).stages["main"].lr == 0.001
    run([f"resume={halfway.path}"], Stop(step=5))
    assert [float(row["train/lr"]) for row in rows(halfway)][2:5] == pytest.approx([0.004, 0.004, 0.004])
    assert len(halfway.changes.read_text().splitlines()) == 1
    (main,) = halfway.checkpoints.glob("00-main-*-end")
    groups = torch.load(main / "training.pt", weights_only=True)["optimizer_states"][0]["param_groups"]
    assert {(group["name"].split("/")[0], group["lr"]) for group in groups} == {("connector", 0.002), ("llm", 0.004)}


def test_other_data_from_here_on(halfway: RunFolder) -> None:
    run([f"resume={halfway.path}", "resume_changes=allow", "seed=7", "stages.main.batch_size=3"])
    assert [int(row["step"]) for row in rows(halfway)] == [1, 2, 3, 4, 5]
    assert halfway.read_config().seed == 7 and latest_config(halfway).stages["main"].batch_size == 3
    halfway.changes.write_text("{")
    with pytest.raises(ConfigError, match=r"changes\.jsonl is not as vlframe wrote it"):
        run([f"resume={halfway.path}"])


def test_a_config_edited_by_hand_is_a_change_too(halfway: RunFolder) -> None:
    text = halfway.config.read_text()
    halfway.config.write_text(text.replace("seed: 0", "seed: 3"))
    with pytest.raises(ConfigError, match=r"seed: 0 -> 3 would change.*config\.yaml in the folder was edited"):
        run([f"resume={halfway.path}"])
    halfway.config.write_text(text.replace("log_every: 1", "log_every: 2"))
    run([f"resume={halfway.path}"], Stop(step=3))
    assert json.loads(halfway.changes.read_text())["changes"] == {"trainer.log_every": [1, 2]}
    # A word on the command line that undoes an edit leaves nothing changed, and the file is put right.
    halfway.config.write_text(halfway.config.read_text().replace("seed: 0", "seed: 3"))
    run([f"resume={halfway.path}", "seed=0"])
    assert halfway.read_config().seed == 0 and len(halfway.changes.read_text().splitlines()) == 1


def test_stages_are_added_to_a_finished_run(tmp_path: Path) -> None:
    """And the whole is what a run of both stages gives, bit for bit."""
    more = ["+stage@stages.more=tune", "stages.more.steps=2", "stages.more.batch_size=2"]
    file = manifest(tmp_path)
    straight = run(training(file, *WORDS, *more, f"runs={tmp_path / 'straight'}"))
    folder = run(training(file, *WORDS, f"runs={tmp_path / 'first'}"))
    run([f"resume={folder.path}", *more])
    ours, theirs = weights(folder), weights(straight)
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert [row["train/loss"] for row in rows(folder)] == [row["train/loss"] for row in rows(straight)]
    with pytest.raises(
        ConfigError, match=r"stages\.main\.steps: 4 -> 8 is not possible: stage main is over; add a stage"
    ):
        run([f"resume={folder.path}", "stages.main.steps=8", "resume_changes=allow"])
    with pytest.raises(ConfigError, match="steps: 2 -> 8 is not possible: stage more is over"):
        run([f"resume={folder.path}", "stages.more.steps=8"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["seed=1", "stages.main.lr=1"], "seed: 0 -> 1; stages.main.lr: 0.001 -> 1.0 would change"),
        (["experiment=quickstart"], "would be another run"),
        (["-m", "seed=1,2"], "one by one"),
        (["trainer.chekpoint_every=3"], "Did you mean 'checkpoint_every'"),
        (["resume_changes=perhaps"], "resume_changes is 'perhaps'; it can be refuse, allow"),
    ],
)
def test_on_the_command_line(half: RunFolder, words: list[str], message: str, capsys: pytest.CaptureFixture) -> None:
    assert main(["train", f"resume={half.path}", *words]) == 2
    assert message in capsys.readouterr().err


def test_differences_name_the_deepest_key() -> None:
    old = {"a": {"b": 1, "c": [1, 2]}, "d": None}
    new = {"a": {"b": 2, "c": [1, 2]}, "d": {"e": 1}, "f": 0}
    assert [str(item) for item in differences(old, new)] == ["a.b: 1 -> 2", "d: None -> {'e': 1}", "f: (absent) -> 0"]
