"""``trainer.strategy=fsdp`` on one GPU: NCCL, shards of one rank, and the numbers of a run without them."""

import shutil
from pathlib import Path

import pytest
import torch
from helpers.compositions import SOUND
from helpers.mixtures import mixture
from helpers.runs import training, weights
from lightning.pytorch import Callback
from torch.distributed.tensor import DTensor

from vlframe.composer.compose import compose, open_registry
from vlframe.runs.checkpoint import checkpoints
from vlframe.runs.folder import RunFolder
from vlframe.training.run import train

pytestmark = pytest.mark.gpu

DEVICE = "cuda"
SMALL_STEPS = ["stages.main.lr=1e-5", "stages.main.warmup_ratio=0", "stages.main.steps=4"]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mixture(tmp_path_factory.mktemp("mixture"), ["video", "text", "image", "both", "audio", "text"])


class Watch(Callback):
    """Where the language model's tensors were while it trained."""

    def __init__(self) -> None:
        self.kinds: set[type] = set()
        self.devices: set[str] = set()

    def on_train_batch_end(self, trainer: object, module: object, *_: object) -> None:
        for parameter in module.model.llm.parameters():
            self.kinds.add(type(parameter.data))
            self.devices.add(parameter.device.type)


def run(folder: Path, file: Path, *more: str) -> tuple[RunFolder, Watch]:
    watch, registry = Watch(), open_registry()
    words = [f"trainer.accelerator={DEVICE}", f"runs={folder / 'runs'}", "trainer.keep_checkpoints=9", *more]
    config = compose("train", training(file, *SOUND, *SMALL_STEPS, *words), registry)
    return train(config, registry, callbacks=[watch]), watch


def assert_close(one: RunFolder, two: RunFolder, tolerance: float) -> None:
    ours, theirs = weights(one), weights(two)
    assert ours.keys() == theirs.keys()
    for key in ours:
        torch.testing.assert_close(
            ours[key], theirs[key], rtol=0, atol=tolerance, msg=lambda text, key=key: f"{key}: {text}"
        )


@pytest.mark.parametrize(("precision", "mode"), [("32", "full"), ("bf16", "lora"), ("16", "lora")])
def test_shards_change_nothing(tmp_path: Path, file: Path, precision: str, mode: str) -> None:
    """After four steps of 1e-5, every weight to 2e-6."""
    words = [
        f"trainer.precision={precision}", f"stages.main.llm.train={mode}", "stages.main.llm.lora.dropout=0",
        "stages.main.accumulate_grad_batches=2",
    ]  # fmt: skip
    plain, before = run(tmp_path / "plain", file, *words)
    sharded, watch = run(tmp_path / "fsdp", file, *words, "trainer.strategy=fsdp")
    assert before.kinds == {torch.Tensor} and watch.kinds == {DTensor} and watch.devices == {DEVICE}
    assert_close(plain, sharded, 2e-6)


def test_a_checkpoint_is_resumed_with_shards(tmp_path: Path, file: Path) -> None:
    words = ["trainer.strategy=fsdp", "trainer.checkpoint_every=2"]
    straight, _ = run(tmp_path / "straight", file, *words)
    cut, _ = run(tmp_path / "cut", file, *words)
    for item in checkpoints(cut):
        if item.step > 2:
            shutil.rmtree(item.path)
    registry = open_registry()
    train(compose("train", [f"resume={cut.path}"], registry), registry)
    assert [item.step for item in checkpoints(cut)] == [2, 4]
    assert_close(straight, cut, 0)
