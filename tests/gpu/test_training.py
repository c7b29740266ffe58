"""Short runs on one GPU, in this process."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch
from helpers.compositions import SOUND
from helpers.mixtures import mixture
from helpers.runs import training, weights

from vlframe.composer.compose import compose, open_registry
from vlframe.errors import TrainingError
from vlframe.runs.checkpoint import checkpoints
from vlframe.runs.folder import RunFolder
from vlframe.training import loss_scale
from vlframe.training.run import train

pytestmark = pytest.mark.gpu

KINDS = ["video", "text", "image", "both", "audio", "many"]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mixture(tmp_path_factory.mktemp("mixture"), KINDS)


def run(folder: Path, file: Path, *more: str) -> RunFolder:
    registry = open_registry()
    arguments = training(file, *SOUND, "trainer.accelerator=cuda", f"runs={folder / 'runs'}", *more)
    return train(compose("train", arguments, registry), registry)


def rows(folder: RunFolder) -> list[dict[str, str]]:
    with open(folder.metrics_csv, newline="") as lines:
        return list(csv.DictReader(lines))


def losses(folder: RunFolder) -> list[float]:
    return [float(row["train/loss"]) for row in rows(folder) if row["train/loss"]]


def differences(one: RunFolder, two: RunFolder) -> dict[str, float]:
    ours, theirs = weights(one), weights(two)
    assert ours.keys() == theirs.keys()
    return {key: (ours[key] - theirs[key]).abs().max().item() for key in ours}


@pytest.mark.parametrize("precision", ["32", "bf16", "16"])
def test_the_loss_falls_and_memory_and_speed_are_in_the_metrics(tmp_path: Path, file: Path, precision: str) -> None:
    words = [
        "stages.main.steps=40",
        "stages.main.batch_size=6",
        "stages.main.lr=3e-3",
        f"trainer.precision={precision}",
    ]
    folder = run(tmp_path, file, *words, "stages.main.encoder.train=full")
    found = losses(folder)
    assert len(found) == 40 and found[-1] < 0.5 * found[0]
    last = rows(folder)[-1]
    # The process alone is larger than this: it is the GPU's memory that is counted.
    assert 0 < float(last["train/peak_memory_gib"]) < 1
    assert float(last["train/samples_per_second"]) > 1 and float(last["train/tokens_per_second"]) > 100
    assert all(value.dtype == torch.float32 for value in weights(folder).values() if value.is_floating_point())


@pytest.mark.parametrize("precision", ["bf16", "16"])
def test_16_bits_begin_with_the_loss_of_float32(tmp_path: Path, file: Path, precision: str) -> None:
    """To 2 %: the first loss, before anything was learned."""
    words = ["stages.main.steps=1", "stages.main.batch_size=6"]
    whole = losses(run(tmp_path / "32", file, *words))
    half = losses(run(tmp_path / "16 bits", file, *words, f"trainer.precision={precision}"))
    assert half == pytest.approx(whole, rel=0.02) and half != whole


@pytest.mark.parametrize("precision", ["32", "bf16", "16"])
def test_a_resumed_run_ends_where_a_straight_one_does(tmp_path: Path, file: Path, precision: str) -> None:
    """Bit for bit with deterministic kernels, with dropout on: the GPU's random state goes on, too."""
    words = [
        "stages.main.llm.train=lora", "stages.main.llm.lora.dropout=0.1", "stages.main.accumulate_grad_batches=2",
        "trainer.checkpoint_every=2", "trainer.keep_checkpoints=9", f"trainer.precision={precision}",
    ]  # fmt: skip
    straight = run(tmp_path / "straight", file, *words)
    cut = run(tmp_path / "cut", file, *words)
    for item in checkpoints(cut):
        if item.step > 2:
            shutil.rmtree(item.path)
    registry = open_registry()
    train(compose("train", [f"resume={cut.path}"], registry), registry)
    assert [item.step for item in checkpoints(cut)] == [2, 4, 6]
    assert losses(cut) == losses(straight)
    assert set(differences(straight, cut).values()) == {0.0}


def test_what_overflows_in_float16_is_skipped_and_counted(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loss_scale, "FIRST_SCALE", 2.0**24)
    folder = run(tmp_path, file, "trainer.precision=16", "stages.main.steps=20", "trainer.log_every=1")
    found = rows(folder)
    assert 1 <= float(found[-1]["train/skipped_steps"]) < 20
    assert float(found[-1]["train/loss_scale"]) < float(found[0]["train/loss_scale"])


def test_memory_that_runs_out_names_its_batch(tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vlframe.model.video_llm import VideoLLM

    def full(self: VideoLLM, batch: object) -> None:
        torch.empty(2**46, dtype=torch.uint8, device="cuda")

    monkeypatch.setattr(VideoLLM, "forward", full)
    with pytest.raises(TrainingError, match=r"memory ran out. The batch has 2 samples, the longest are row\d"):
        run(tmp_path, file)
    (record,) = tmp_path.glob("runs/default/*/failed_batch.json")
    assert len(json.loads(record.read_text())["samples"]) == 2
