"""The command line as a process: what it prints, what it exits with, what it does not import."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

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
        "protocol", "layout",
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
        (["train", "media.sampling=some"], ["media.sampling is 'some'", "uniform, fps"]),
        (["train", "trainer.precision=fp8"], ["trainer.precision is 'fp8'", "32, bf16"]),
        (["train"], ["no stages", "experiment=quickstart"]),
        (["train", "experiment=quickstart", "stages.main.encoder.train=maybe"], ["'maybe'", "frozen, full, lora"]),
        (["train", "experiment=quickstart", "stages.main.epochs=2"], ["steps or epochs"]),
        (["train", "experiment=nowhere"], ["no experiment named 'nowhere'", "quickstart"]),
        (["train", "experiment=quickstart", "connector.stride=[2,2"], ["connector.stride"]),
        (["plan", "media.frames=1", "connector=stc_v35"], ["does not fit", "stc_v35", "frame"]),
        (["plan", "text.context=64"], ["64", "no room", "media tokens"]),
        (["plan", "text.context=100000000"], ["100000000", "made for"]),
        (["plan", "encoder=clip_tiny", "encoder.select=cls_patch"], ["stc", "does not fit"]),
        (["data"], ["'check' comes next", "--help"]),
        (["data", "check"], ["nothing to check", "dataset=motionqa", "experiment=quickstart"]),
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
