"""Nothing waits for the GPU between batch and optimizer step, except where the loss is logged."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.compositions import SOUND, batch, clip, image, row, sound, tiny_pipeline
from helpers.mixtures import mixture
from helpers.runs import training

from vlframe.composer.compose import compose
from vlframe.training.module import StageModule
from vlframe.training.run import train

pytestmark = pytest.mark.gpu


@contextmanager
def no_waiting() -> Iterator[None]:
    """Raise RuntimeError at whatever makes the CPU wait for the device."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_what_waits_is_seen() -> None:
    ones = torch.ones(4, device="cuda")
    with pytest.raises(RuntimeError), no_waiting():
        ones.sum().item()


@pytest.mark.parametrize("connector", ["stc_tiny", "qformer_instruct_tiny"])
def test_forward_and_backward_do_not_wait(connector: str, registry) -> None:
    pipeline = tiny_pipeline(registry, *SOUND, f"connector={connector}")
    model = pipeline.model.to("cuda")
    reads = (3, 4, 5) if pipeline.budget.branches["video"].instruction is not None else ()
    seen = [replace(item, instruction=reads) for item in (clip(pipeline, 1), image(pipeline, 2))]
    mixed = batch(
        row([seen[0]], 12, 3, 1), row([seen[1], seen[0]], 9, 3, 2), row([], 7, 3, 3), row([sound(pipeline, 4)], 6, 3, 4)
    ).to("cuda")
    model(mixed).total.backward()  # constants are made at the first use
    with no_waiting():
        model(mixed).total.backward()


@pytest.mark.parametrize("precision", ["32", "bf16"])
def test_a_step_that_is_not_logged_does_not_wait(
    tmp_path: Path, registry, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    """From a batch on the device to the end of the optimizer's step; the first and the last one are logged."""
    steps, watched = 6, []
    step = StageModule.training_step

    def watching(self: StageModule, micro_batch, index: int):
        if 1 < self.steps_done < steps - 1:  # the second step makes the optimizer's states
            watched.append(self.steps_done)
            torch.cuda.set_sync_debug_mode("error")
        return step(self, micro_batch, index)

    monkeypatch.setattr(StageModule, "training_step", watching)
    monkeypatch.setattr(StageModule, "on_train_batch_end", lambda *_: torch.cuda.set_sync_debug_mode("default"))
    words = training(
        mixture(tmp_path, ["video", "text", "image", "both"]), *SOUND, "trainer.accelerator=cuda",
        f"trainer.precision={precision}", f"stages.main.steps={steps}", "stages.main.batch_size=4",
        f"trainer.log_every={steps}", "trainer.progress=false", f"runs={tmp_path / 'runs'}",
    )  # fmt: skip
    try:
        train(compose("train", words, registry), registry)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert watched == [2, 3, 4]
