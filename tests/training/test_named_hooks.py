"""A callback that fails in the middle of a run is named, with its hook and line, and the run goes on without it."""

import re
import shlex
from pathlib import Path

import pytest
from helpers.runs import manifest, training
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import LearningRateMonitor

from vlframe.composer.compose import compose, open_registry
from vlframe.errors import OutOfMemory, TrainingError
from vlframe.runs.checkpoint import checkpoints
from vlframe.runs.folder import RunFolder
from vlframe.runs.outcome import Outcome
from vlframe.training.named_hooks import HOOKS, with_named_hooks
from vlframe.training.run import train

PLUGIN = str(Path(__file__).parent / "outside" / "failing_callback.py")
FILE = f"plugins.paths=[{PLUGIN}]"


def failed(folder: Path, *words: str) -> tuple[str, RunFolder]:
    registry = open_registry([PLUGIN])
    usual = training(manifest(folder), "trainer.checkpoint_every=2", f"runs={folder / 'runs'}", FILE)
    with pytest.raises(TrainingError) as caught:
        train(compose("train", [*usual, "callbacks=[failing]", *words], registry), registry)
    (run,) = (folder / "runs").glob("*/[!.]*")
    return str(caught.value), RunFolder.open(run)


@pytest.mark.parametrize("hook", ["setup", "on_train_batch_end", "on_train_end", "state_dict"])
def test_it_is_named_with_its_hook_and_line(tmp_path: Path, hook: str) -> None:
    told, run = failed(tmp_path, f"callbacks.failing.hook={hook}")
    assert f"callbacks.failing (Failing) failed in {hook}: ZeroDivisionError: one by none" in told
    assert re.search(r"failing_callback\.py:\d+\)", told)
    outcome = Outcome.read(run)
    assert outcome is not None and (outcome.state, outcome.exit_code) == ("failed", 2) and hook in outcome.why


def test_the_run_goes_on_without_it_by_the_words_that_are_told(tmp_path: Path) -> None:
    told, run = failed(tmp_path)
    assert checkpoints(run)[-1].step == 2
    words = [word for word in shlex.split(told.partition("without it: ")[2]) if word]
    registry = open_registry([PLUGIN])
    train(compose("train", [*words, FILE], registry), registry)
    assert checkpoints(run)[-1].step == 6


def test_memory_that_runs_out_in_it_is_explained_as_elsewhere(tmp_path: Path) -> None:
    told, _ = failed(tmp_path, "callbacks.failing.error=MemoryError")
    assert "memory ran out" in told and issubclass(OutOfMemory, TrainingError)


def test_lightnings_own_keep_working(tmp_path: Path) -> None:
    named = with_named_hooks("rate", LearningRateMonitor(), tmp_path)
    assert isinstance(named, LearningRateMonitor) and {"on_train_start", "state_dict", "setup"} <= set(HOOKS)
    plain = with_named_hooks("nothing", Callback(), tmp_path)
    assert not [hook for hook in HOOKS if hook in vars(plain)]  # what it does not define stays Lightning's
