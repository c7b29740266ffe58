"""The cost of a pass on the meta device, beside the same pass with numbers."""

import pytest
import torch
from helpers.compositions import SOUND, batch, clip, row, sound, tiny_pipeline
from torch.utils.flop_counter import FlopCounterMode

from vlframe.model.cost import Watch, on_meta, pass_cost
from vlframe.training.trainable import recompute_activations


def example(pipeline, samples: int = 4):
    rows = [row([clip(pipeline, number), sound(pipeline, number)], 40, 20, number) for number in range(samples)]
    return batch(*rows)


@pytest.mark.parametrize("recomputes", [False, True])
def test_bytes_and_operations_are_those_of_a_real_pass(registry, recomputes: bool) -> None:
    pipeline = tiny_pipeline(registry, *SOUND)
    if recomputes:
        recompute_activations(pipeline.model)
    items = example(pipeline)
    predicted = pass_cost(pipeline.model, items, low=None)
    with FlopCounterMode(display=False) as counted:
        pipeline.model(items).total.backward()
    pipeline.model.zero_grad()
    with Watch() as watch:
        pipeline.model(items).total.backward()
    assert predicted.peak == pytest.approx(watch.most, rel=0.05)
    assert watch.flops == pytest.approx(counted.get_total_flops(), rel=1e-6)
    assert predicted.flops == pytest.approx(watch.flops, rel=0.02)


def test_recomputation_and_accumulation_change_the_peak(registry) -> None:
    pipeline = tiny_pipeline(registry)
    items = batch(*(row([clip(pipeline, number)], 200, 20, number) for number in range(8)))
    plain = pass_cost(pipeline.model, items, low=None)
    low = pass_cost(pipeline.model, items, low=torch.bfloat16)
    recompute_activations(pipeline.model)
    again = pass_cost(pipeline.model, items, low=None)
    assert again.activations < plain.activations and again.flops > plain.flops
    assert low.activations < plain.activations and low.flops == plain.flops


def test_a_pass_changes_nothing(registry) -> None:
    pipeline = tiny_pipeline(registry)
    items = batch(row([clip(pipeline, 1)], 20, 10, 1))
    before = pipeline.model(items).total.item()
    linear = torch.nn.functional.linear
    pass_cost(pipeline.model, items, low=torch.bfloat16, accumulates=True)
    assert pipeline.model(items).total.item() == before and torch.nn.functional.linear is linear
    assert "softmax" not in vars(torch.Tensor) and all(item.grad is None for item in pipeline.model.parameters())
    assert all(item.is_meta for item in on_meta(pipeline.model).parameters())
