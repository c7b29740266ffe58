"""The cost of a pass on the meta device, beside the same pass with numbers."""

import pytest
import torch
from helpers.compositions import SOUND, batch, clip, row, sound, tiny_pipeline
from torch.utils.flop_counter import FlopCounterMode

from vlframe.model import cost
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


@pytest.mark.parametrize("low", [None, torch.bfloat16])
def test_what_is_looked_up_is_what_would_be_computed(registry, monkeypatch: pytest.MonkeyPatch, low) -> None:
    pipeline = tiny_pipeline(registry, *SOUND)
    recompute_activations(pipeline.model)
    items, known = example(pipeline), {}
    looked_up = [pass_cost(pipeline.model, items, low=low, known=known) for _ in range(2)]
    assert sum(item is not None for item in known.values()) > 50
    monkeypatch.setattr(cost.Known, "of", classmethod(lambda *_: None))
    computed = pass_cost(pipeline.model, items, low=low)
    assert looked_up == [computed, computed]


def test_only_whole_results_of_known_forms_are_looked_up() -> None:
    """Not views, tensors changed in place, or values; numbers that are equal, and of other types, are told apart."""
    one = torch.empty(2, 3, device="meta")
    with Watch() as watch:
        for _ in range(2):
            wide, turned, low = one @ one.T, one.T, one.to(torch.bfloat16)
            same, shared = one.add_(1), torch.ops.aten._unsafe_view(one, [3, 2])
            row, total = one[torch.tensor([1, 0, 1])], one.sum(0)
    looked_up = {key[0].__name__ for key, item in watch.known.items() if item is not None}
    assert looked_up == {"mm.default", "_to_copy.default", "sum.dim_IntList"}
    assert turned._base is one and same is one and shared.untyped_storage()._cdata == one.untyped_storage()._cdata
    assert [tuple(item.shape) for item in (wide, low, row, total)] == [(2, 2), (2, 3), (3, 3), (3,)]
    assert low.dtype == torch.bfloat16 and watch.flops == 2 * 2 * (2 * 3 * 2)
    assert len({cost._written(item) for item in (1, 1.0, True)}) == 3
