"""A training step asks the device for nothing between batch and optimizer step, unless something is to be logged.

``tests/gpu/test_read_backs.py`` has the same of CUDA.
"""

from collections import Counter

import pytest
import torch
from helpers.mixtures import mixture
from helpers.runs import training
from torch.utils._python_dispatch import TorchDispatchMode

# What makes the CPU wait for a device: a value, a place, a shape that depends on values.
WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "item", "equal", "unique", "is_nonzero", "masked_scatter")


class ReadBacks(TorchDispatchMode):
    """Counts the operations that would wait for the device."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        masks = name == "index" and any(item is not None and item.dtype == torch.bool for item in args[1])
        if name in WAITS or masks:
            self.found[name] += 1
        return func(*args, **(kwargs or {}))


@pytest.fixture
def batch_and_model(registry, tmp_path):
    from vlframe.composer.compose import compose
    from vlframe.data.collate import Collate
    from vlframe.inference.pipeline import build_pipeline

    kinds = ["text", "image", "video", "audio", "both"]
    words = training(mixture(tmp_path, kinds), "audio_encoder=beats_tiny")
    config = compose("train", words, registry)
    pipeline = build_pipeline(config, registry)
    rows = pipeline.prepared(registry.build("dataset", config.dataset), answers=True)
    # In eval mode: dropped layers and units are drawn on the CPU, which waits for nobody.
    return Collate()([rows[number] for number in range(len(kinds))]), pipeline.model.eval()


def test_forward_and_backward_read_nothing_back(batch_and_model) -> None:
    batch, model = batch_and_model
    model(batch).total.backward()  # constants are made at the first use
    with ReadBacks() as seen:
        model(batch).total.backward()
    assert not seen.found


def test_the_counter_sees_what_it_is_to_see() -> None:
    with ReadBacks() as seen:
        value = torch.arange(4)
        value[value > 1].sum().item()
        float(torch.ones(()))
    assert sum(seen.found.values()) >= 3


def test_a_loss_is_looked_at_without_waiting(batch_and_model) -> None:
    """The window of a step adds up losses where they are."""
    from vlframe.training.module import Window

    batch, model = batch_and_model
    loss = model(batch)
    window = Window()
    with ReadBacks() as seen:
        window.add(batch, loss, {})
        window.add(batch, loss, {})
    assert not seen.found and window.tokens == 2 * batch.supervised


# What each kind is tried with: all of them have small example parameters.
BESIDE = {
    "encoder": "connector=mlp",
    "connector": "encoder=vit_tiny",
    "audio_encoder": "audio_connector=mlp",
    "audio_connector": "audio_encoder=whisper",
}


@pytest.mark.parametrize("kind", BESIDE)
def test_no_part_of_ours_reads_a_value_in_training(kind: str, registry) -> None:
    """On the meta device there are no values: a pass that reads one ends there, as does the trial of a plan."""
    from vlframe.composer.compose import compose
    from vlframe.model.assemble import compose_on_meta
    from vlframe.model.cost import pass_cost
    from vlframe.training.prediction import example_batch, meta_stages

    common = [
        "encoder=vit_tiny", "connector=mlp", "llm=causal_lm", "debug.tiny=true", "media.frames=4", "dataset=motionqa",
        "+stage@stages.main=everything", "stages.main.steps=1", BESIDE[kind],
    ]  # fmt: skip
    for name in registry.names(kind):
        config = compose("train", [*common, f"{kind}={name}"], registry)
        composition = compose_on_meta(config, registry)
        assert composition.unchecked == (), name
        model = meta_stages(composition, config)["main"]  # in the modes of training
        assert pass_cost(model, example_batch(composition.budget, 2), low=None).flops, name
