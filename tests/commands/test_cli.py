"""The command line as a process: what it prints, what it exits with, what it does not import."""

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from vlframe.cli import main
from vlframe.commands import MODULES

LIGHT = """
import sys
from vlframe.cli import main
code = main({arguments!r})
heavy = {{"torch", "hydra", "omegaconf", "numpy", "yaml"}} & set(sys.modules)
sys.exit(f"imports {{heavy}}" if heavy else code)
"""


def vlframe(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "vlframe", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=120)


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["list", "connector", "--json"], ["--version"], []])
def test_light_commands_import_neither_torch_nor_hydra(arguments: list[str]) -> None:
    done = subprocess.run([sys.executable, "-c", LIGHT.format(arguments=arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_list_tells_who_offers_what() -> None:
    rows = json.loads(vlframe("list", "--json").stdout)
    stc = next(row for row in rows if (row["kind"], row["name"]) == ("connector", "stc"))
    assert stc["distribution"] == "vlframe" and stc["state"] == "ok" and stc["summary"]
    assert {row["kind"] for row in rows} == {
        "encoder", "connector", "audio_encoder", "audio_connector", "llm", "reader", "dataset", "benchmark",
        "processor", "pixels", "sampler", "checkpoint_format", "objective",
    }  # fmt: skip
    assert not [row for row in rows if row["state"] != "ok"]


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["fly"], ["no command 'fly'", "train, evaluate, predict"]),
        (["list", "conector"], ["no kind 'conector'", "connector"]),
        (["train", "connector=sct"], ["no connector named 'sct'", "qformer", "Did you mean", "'stc'"]),
        (["train", "encoder=clipp"], ["no encoder named 'clipp'", "Did you mean 'clip'"]),
        (["train", "connector.detph=2"], ["no key 'connector.detph'", "Did you mean 'depth'"]),
        (["train", "connector.depth=deep"], ["connector.depth", "deep"]),
        (["train", "media.sampler=some"], ["no sampler named 'some'", "fps", "uniform"]),
        (["train", "trainer.precision=fp8"], ["trainer.precision is 'fp8'", "32, bf16, 16"]),
        (["train"], ["no stages", "experiment=quickstart"]),
        (["train", "experiment=quickstart", "stages.main.encoder.train=maybe"], ["'maybe'", "frozen, full, lora"]),
        (["train", "experiment=quickstart", "stages.main.epochs=2"], ["steps or epochs"]),
        (["train", "experiment=nowhere"], ["no experiment named 'nowhere'", "quickstart"]),
        (["train", "experiment=quickstart", "connector.stride=[2,2"], ["connector.stride"]),
        (["plan", "media.frames=1", "connector=stc_v35"], ["does not fit", "stc_v35", "frame"]),
        (["plan", "text.max_length=64"], ["64", "no room", "media tokens"]),
        (["plan", "text.max_length=100000000"], ["100000000", "made for"]),
        (["plan", "encoder=clip_tiny", "encoder.select=cls_patch"], ["stc", "does not fit"]),
        (["data"], ["'check' comes next", "--help"]),
        (["data", "check"], ["nothing to check", "dataset=<name>; there are", "motionqa", "experiment=quickstart"]),
        (["data", "check", "--fast"], ["--fast", "--json"]),
        (["data", "check", "experiment=videollama2_av/joint"], ["for stages.joint.data.mixture.0.path,"]),
        (["evaluate"], ["run"]),
        (["evaluate", "run=nowhere"], ["nowhere", "no run folder"]),
        (["predict", "run=nowhere", "prompt=hello"], ["nowhere", "no run folder"]),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else None,
)
def test_a_mistake_is_one_clear_message(arguments: list[str], words: list[str], tmp_path: Path) -> None:
    done = vlframe(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr, done.stderr
    assert len(done.stderr.strip().splitlines()) <= 2
    assert not list(tmp_path.iterdir()), "a command that was refused left something behind"


def test_traceback_on_request(tmp_path: Path) -> None:
    done = vlframe("train", "connector=sct", "--traceback", cwd=tmp_path)
    assert done.returncode != 0 and "Traceback" in done.stderr


def test_help_of_train_names_the_options(tmp_path: Path) -> None:
    done = vlframe("train", "--help", cwd=tmp_path)
    assert done.returncode == 0
    for word in ("qformer", "stc_v35", "videollama2_7b", "quickstart"):
        assert word in done.stdout


def test_help_of_a_command_for_a_run_names_its_keys_alone(tmp_path: Path) -> None:
    done = vlframe("predict", "--help", cwd=tmp_path)
    assert done.returncode == 0 and "max_new_tokens: 128" in done.stdout
    assert "stc_v35" not in done.stdout and "Hydra" not in done.stdout


@pytest.mark.parametrize("words", [["--version"], ["train", "--version"], ["--version", "list"], ["data", "--version"]])
def test_the_version_is_vlframes(words: list[str], capsys: pytest.CaptureFixture) -> None:
    assert main(words) == 0
    assert capsys.readouterr().out == f"vlframe {version('vlframe')}\n"


@pytest.mark.parametrize("command", [name for name in MODULES if not name.startswith("_")])
@pytest.mark.parametrize("flag", ["--help", pytest.param("-h", marks=pytest.mark.slow)])
def test_every_command_explains_itself(command: str, flag: str, capsys: pytest.CaptureFixture) -> None:
    """With its name and what may follow, on stdout, and without doing anything."""
    assert main([command, flag]) == 0
    shown = capsys.readouterr()
    assert f"vlframe {command}" in shown.out and not shown.err


@pytest.mark.parametrize("command", ["train", "data", "compare", "study", "verify", "export"])
def test_home_is_expanded_in_every_argument(command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In one place for all commands: what shells leave as it is, after ``=`` and in quotes."""
    from vlframe import cli

    seen: list[str] = []
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setitem(cli.COMMANDS, command, lambda words: seen.extend(words) or 0)
    words = ["~/t.json", "~/a=1.json", "--config-dir=~/conf", "--config-dir", "~/conf", "~logger", "seed=~/x"]
    assert cli.main([command, *words]) == 0
    assert seen == [
        f"{tmp_path}/t.json", f"{tmp_path}/a=1.json", f"--config-dir={tmp_path}/conf", "--config-dir",
        f"{tmp_path}/conf", "~logger", "seed=~/x",
    ]  # fmt: skip


def test_commands_read_what_is_at_home(tmp_path: Path) -> None:
    import os

    rows = [{"id": "a", "conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}]
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a=1.json").write_text(json.dumps(rows))
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    (tmp_path / "conf" / "experiment" / "mine.yaml").write_text("# @package _global_\nseed: 7\n")
    for words in (
        ["data", "check", "~/data/a=1.json"],
        ["data", "check", "dataset=conversations", "dataset.mixture=[{path: ~/data/a=1.json, weight: 1}]"],
        ["train", "--config-dir=~/conf", "experiment=mine", "--cfg", "job"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "vlframe", *words], capture_output=True, text=True, cwd=tmp_path,
            env={**os.environ, "HOME": str(tmp_path)}, timeout=240,
        )  # fmt: skip
        assert done.returncode == 0, (words, done.stdout, done.stderr)
    done = vlframe("compare", "~/no runs")
    assert os.path.expanduser("~/no runs") in done.stderr and done.returncode == 2


def test_a_folder_that_was_removed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gone").mkdir()
    os.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    from vlframe.cli import main

    assert main(["plan", "media.frames=4"]) == 2
    assert capsys.readouterr().err == "vlframe: the current folder has been removed; change to one that exists (cd ~)\n"
    assert main(["--version"]) == 0
