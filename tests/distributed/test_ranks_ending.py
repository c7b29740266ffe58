"""Two real processes, one of which comes to grief: both end, soon, and say why."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
from helpers.mixtures import mixture
from helpers.processes import Command, processes_of
from helpers.runs import manifest, only_run, training, wait_for_steps

from vlframe.data.order import SampleOrder
from vlframe.runs.checkpoint import latest
from vlframe.runs.folder import RunFolder

TWO = ["trainer.devices=2", "trainer.accelerator=cpu", "stages.main.batch_size=1"]
LONG = ["stages.main.steps=100000", "trainer.checkpoint_every=100000"]
SOON = 60  # seconds, for both; they need a few where nothing else runs


def ended(process: Command) -> str:
    """What a run said, when all its processes have closed their mouths; a moment later they are gone."""
    _, errors = process.communicate(timeout=SOON)
    deadline = time.monotonic() + 10
    while left := [pid for pid in processes_of(process) if _alive(pid)]:
        assert time.monotonic() < deadline, f"{left} are still there"
        time.sleep(0.1)
    return errors


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("victim", ["the first", pytest.param("the other", marks=pytest.mark.slow)])
def test_a_killed_rank_ends_the_other(tmp_path: Path, victim: str) -> None:
    """SIGKILL in the middle of the steps."""
    process = Command("train", *training(manifest(tmp_path), *TWO, *LONG), cwd=tmp_path)
    wait_for_steps(tmp_path)
    (other,) = [pid for pid in processes_of(process) if pid != process.pid]
    os.kill(process.pid if victim == "the first" else other, signal.SIGKILL)
    errors = ended(process)
    assert process.returncode not in (0, None)
    # Lightning kills the first rank if it is not gone by itself when it looks, and then it can say nothing.
    assert "lost another one" in errors or (victim == "the other" and process.returncode == -signal.SIGKILL)


def test_a_signal_ends_both_after_their_step(tmp_path: Path) -> None:
    process = Command("train", *training(manifest(tmp_path), *TWO, *LONG), cwd=tmp_path)
    wait_for_steps(tmp_path)
    os.kill(process.pid, signal.SIGTERM)  # to the first alone
    errors = ended(process)
    assert process.returncode == 143 and "continue with resume=" in errors and "Traceback" not in errors, errors
    checkpoint = latest(RunFolder.open(only_run(tmp_path)))
    assert checkpoint.step > 0 and not checkpoint.finished


PLUGIN = '''
import os
from dataclasses import dataclass

import torch

import vlframe


@dataclass
class Params:
    what: str = "nan"


class Spiteful(torch.nn.Linear):
    """One token for a clip; on the second rank, no number, or no room."""

    expands_images = False

    def __init__(self, *, in_dim: int, out_dim: int, what: str) -> None:
        super().__init__(in_dim, out_dim)
        self.what = what

    def tokens(self, grid: vlframe.VideoGrid) -> int:
        return 1

    def forward(self, features_BTHWD: torch.Tensor) -> torch.Tensor:
        tokens_B1E = super().forward(features_BTHWD.mean((1, 2, 3))[:, None])
        if os.environ.get("LOCAL_RANK") != "1" or features_BTHWD.is_meta:  # a plan is no step
            return tokens_B1E
        return tokens_B1E * float("nan") if self.what == "nan" else torch.empty(2**48, dtype=torch.uint8)


@vlframe.hookimpl
def vlframe_components():
    yield vlframe.Component("connector", "spiteful", __name__ + ":Spiteful", Params, "made up")
'''


@pytest.mark.parametrize(
    ("trouble", "strategy", "words"),
    [
        ("nan", "ddp", "the loss is nan"),
        pytest.param("memory", "fsdp", "memory ran out", marks=pytest.mark.slow),
        ("media", "ddp", "this is plain text (by its first bytes)"),
    ],
)
def test_trouble_on_one_rank_ends_both_and_names_its_samples(
    tmp_path: Path, trouble: str, strategy: str, words: str
) -> None:
    (second,) = SampleOrder(4, seed=0).take(1, 2)  # what the second rank's first batch is made of
    kinds = ["image"] * 4
    if trouble == "media":
        kinds[second] = "broken"
    (tmp_path / "spiteful.py").write_text(PLUGIN)
    spiteful = [f"plugins.paths=[{tmp_path / 'spiteful.py'}]", "connector=spiteful", f"connector.what={trouble}"]
    more = [*TWO, f"trainer.strategy={strategy}", *(spiteful if trouble != "media" else [])]
    process = Command("train", *training(mixture(tmp_path, kinds), *more), cwd=tmp_path)
    begun = time.monotonic()
    _, errors = process.communicate(timeout=200)
    assert process.returncode not in (0, None) and time.monotonic() - begun < 200
    assert words in errors and f"row{second}" in errors, errors
    if trouble != "media":
        failed = json.loads((only_run(tmp_path) / "failed_batch.json").read_text())
        assert failed["samples"] == [f"row{second}"] and failed["step"] == 1
