"""No key of a service reaches a config: by its name, by its form, or by being what the environment holds."""

import logging
import os
from pathlib import Path
from typing import Any

import pytest
from helpers.compositions import TINY
from helpers.runs import manifest, training

from vlframe.cli import main
from vlframe.composer.compose import compose
from vlframe.config.typed import plain
from vlframe.errors import ConfigError
from vlframe.inference.pipeline import load_run
from vlframe.runs.folder import RunFolder
from vlframe.runs.log import log, log_to

KEY = "f00dfacef00dfacef00dfacef00dfacef00dface"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)


@pytest.mark.parametrize(
    ("word", "variable"),
    [
        (f"+logger.wandb.api_key={'a' * 40}", "WANDB_API_KEY"),
        ("++logger.wandb.settings.api_key=abc", "WANDB_API_KEY"),
        ("logger.wandb.apiKey=abc", "WANDB_API_KEY"),
        ("+hub.token=abc", "HF_TOKEN"),
        ("+llm.hf_token=abc", "HF_TOKEN"),
        ("+anything.password=abc", "environment variable"),
        ("+logger.neptune.api_token=abc", "NEPTUNE_API_TOKEN"),
        ("name=hf_abcdefghijklmnopqrstuvwx", "looks like a secret"),
        ("name=sk-proj-abcdefghijklmnopqrst", "looks like a secret"),
        ("llm.source=https://me:abcabcabc@huggingface.co/x/y", "looks like a secret"),
        (f"name={KEY}", "WANDB_API_KEY"),
        (f"name=run-{KEY}-1", "WANDB_API_KEY"),
        ("name=${oc.env:WANDB_API_KEY}", "WANDB_API_KEY"),
        ("'name=a ${oc.env: WANDB_API_KEY} b'", "WANDB_API_KEY"),
    ],
)
def test_a_command_line_with_a_secret_is_refused_without_repeating_it(
    word: str, variable: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    code = main(["train", *training(manifest(tmp_path)), f"runs={tmp_path / 'runs'}", word.strip("'")])
    said = capsys.readouterr()
    assert code == 2 and variable in said.err and "leave it out" in said.err
    value = word.strip("'").partition("=")[2]
    assert value.startswith("${") or value not in said.err + said.out
    assert KEY not in said.err + said.out and not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("llm.source=org/model", "org/model"), ("text.max_length=64", 64), ("+logger.wandb.api_key=null", None),
        ("name=hf_small", "hf_small"), ("name=task-2", "task-2"), ("+callbacks.x.pad_token=abc", "abc"),
        ("name=token", "token"), ("runs=${oc.env:HOME}", os.environ["HOME"]),
    ],
)  # fmt: skip
def test_what_is_no_secret_passes(word: str, value: object, registry) -> None:
    place: Any = plain(compose("train", [*TINY, "logger=wandb", word], registry))
    for key in word.partition("=")[0].lstrip("+").split("."):
        place = place[key]
    assert place == value


def test_a_preset_that_reads_a_secret_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    preset = tmp_path / "logger" / "mine.yaml"
    preset.parent.mkdir()
    preset.write_text("wandb:\n  entity: ${oc.env:WANDB_API_KEY}\n")
    code = main(["train", "--config-dir", str(tmp_path), *training(manifest(tmp_path)), "logger=mine"])
    said = capsys.readouterr()
    assert code == 2 and "logger.wandb.entity" in said.err and "WANDB_API_KEY" in said.err
    assert KEY not in said.err + said.out


def test_a_strangers_run_cannot_read_a_secret(tmp_path: Path, registry) -> None:
    """``${oc.env:…}`` in its config would be the name of a model to ask a hub for."""
    (tmp_path / "config.yaml").write_text("name: ${oc.env:WANDB_API_KEY}\n")
    with pytest.raises(ConfigError, match="holds the value of the environment variable WANDB_API_KEY"):
        load_run(str(tmp_path), registry)


def test_lines_of_the_log_are_redacted(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Whoever says them: a library's error may repeat an address or a header."""
    (tmp_path / "config.yaml").write_text("{}\n")
    with log_to(RunFolder.open(tmp_path)):
        log.info("asked https://me:abcabcabc@hub.example/x with %s", KEY)
        log.log(logging.INFO, "and hf_abcdefghijklmnopqrstuvwx")
    for text in (capsys.readouterr().err, (tmp_path / "run.log").read_text()):
        assert "asked https://***@hub.example/x with ***" in text and "and ***\n" in text
        assert KEY not in text and "abcabcabc" not in text and "hf_abc" not in text
