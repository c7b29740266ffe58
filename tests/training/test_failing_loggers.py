"""Loggers that cannot be built are refused; those that fail later end no run, and are named by it; Ctrl-C is Ctrl-C."""

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.runs import manifest, only_run, training

from vlframe.composer.compose import compose, open_registry
from vlframe.errors import ConfigError, OutputError, PluginError
from vlframe.runs.checkpoint import latest
from vlframe.runs.folder import RunFolder
from vlframe.training.run import train

PLUGIN = str(Path(__file__).parent / "outside" / "failing_loggers.py")


def run(folder: Path, *words: str) -> RunFolder:
    registry = open_registry([PLUGIN])
    usual = training(manifest(folder), "stages.main.steps=3", f"runs={folder / 'runs'}", f"plugins.paths=[{PLUGIN}]")
    return train(compose("train", [*usual, *words], registry), registry)


def failing(at: str, what: str, *more: str) -> list[str]:
    return ["logger=[failing]", f"logger.failing.at={at}", f"logger.failing.what={what}", *more]


def outcome(folder: Path) -> dict[str, Any]:
    return json.loads((only_run(folder) / "outcome.json").read_text())


@pytest.mark.parametrize(("what", "said"), [("error", "no such service"), ("mute", "Mute"), ("exit", "7")])
def test_one_that_cannot_be_built_is_one_sentence_and_leaves_no_folder(tmp_path: Path, what: str, said: str) -> None:
    for kind, words in (
        ("logger 'failing'", failing("init", what)),
        ("callback 'failed'", ["callbacks=[failed]", f"callbacks.failed.what={what}"]),
    ):
        with pytest.raises(PluginError) as caught:
            run(tmp_path, *words)
        assert str(caught.value).startswith(f"{kind} of plugin {PLUGIN} cannot be made: {said}; ")
        assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("kind", ["ModelCheckpoint", "RichProgressBar", "TQDMProgressBar", "OnExceptionCheckpoint"])
def test_callbacks_for_what_a_run_does_itself_are_refused_before_it(tmp_path: Path, kind: str) -> None:
    named = f"+callbacks.mine._target_=lightning.pytorch.callbacks.{kind}"
    with pytest.raises(
        ConfigError, match=rf"mine: {kind} does what a run does itself, by trainer\.\w+ and trainer\.\w+;"
    ):
        run(tmp_path, named)
    assert not (tmp_path / "runs").exists()


def test_a_mode_that_wandb_does_not_know_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import wandb

    def refuse(**how: Any) -> None:
        raise ValueError("1 validation error for Settings\nmode\n  Input should be 'online'")

    monkeypatch.setenv("WANDB_MODE", "foo")
    monkeypatch.setattr(wandb, "login", refuse)
    with pytest.raises(ConfigError, match=r"refuses its settings \(1 validation error for Settings mode .*WANDB_"):
        run(tmp_path, "logger=wandb")
    assert not (tmp_path / "runs").exists()


def test_one_that_cannot_begin_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the logger Failing cannot begin: Mute; leave it out"):
        run(tmp_path, *failing("log_hyperparams", "mute"))
    assert outcome(tmp_path)["state"] == "failed"


@pytest.mark.parametrize(
    ("at", "what", "said"),
    [
        ("log_metrics", "mute", "Mute"),
        ("log_metrics", "panic", "BadEnd: panicked"),
        ("finalize", "exit", "SystemExit: 7"),
        ("experiment", "error", "ValueError: no such service"),
        ("name", "error", "ValueError: no such service"),
    ],
)
def test_one_that_fails_in_a_run_ends_it_not_and_is_named(tmp_path: Path, at: str, what: str, said: str) -> None:
    with pytest.raises(OutputError, match="logging to Failing"):
        run(tmp_path, *failing(at, what), "callbacks=[curious]")
    folder = RunFolder.open(only_run(tmp_path))
    assert folder.log.read_text().count(f"logging to Failing failed: {said}\n") == 1
    found = outcome(tmp_path)
    assert (found["state"], found["steps_done"], found["exit_code"]) == ("done", 3, OutputError.exit_code)
    assert "some results could not be written or logged: logging to Failing" in found["why"]
    assert latest(folder).finished


@pytest.mark.parametrize("times", [1, 10])
def test_ctrl_c_in_one_is_ctrl_c_of_the_run(tmp_path: Path, times: int) -> None:
    """In a stage: the step is finished and saved. One that raises it again and again is no second Ctrl-C."""
    with pytest.raises(SystemExit) as caught:
        run(tmp_path, *failing("log_metrics", "interrupt", f"logger.failing.times={times}"))
    assert caught.value.code == 130
    found = outcome(tmp_path)
    assert (found["state"], found["why"], found["exit_code"]) == ("stopped", "it was stopped by SIGINT", 130)
    assert latest(RunFolder.open(only_run(tmp_path))).step == found["steps_done"] == 1


@pytest.mark.parametrize(
    ("at", "skip", "state", "why"),
    [
        ("log_hyperparams", 0, "stopped", "it was stopped by SIGINT"),
        ("finalize", 1, "done", "Ctrl-C came while its loggers were closed"),  # the first call is Lightning's, in fit
    ],
)
def test_ctrl_c_outside_the_stages_leaves_no_run_running(
    tmp_path: Path, at: str, skip: int, state: str, why: str
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, *failing(at, "interrupt", f"logger.failing.skip={skip}", "logger.failing.times=1"))
    found = outcome(tmp_path)
    assert (found["state"], found["exit_code"]) == (state, 130) and why in found["why"]


def test_ctrl_c_while_a_failure_is_logged_does_not_leave_it_running(tmp_path: Path) -> None:
    words = ["stages.main.lr=1e30", "stages.main.max_grad_norm=0"]
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, *failing("failed_step", "interrupt"), *words)
    assert outcome(tmp_path)["state"] == "failed" and "the loss is nan" in outcome(tmp_path)["why"]
