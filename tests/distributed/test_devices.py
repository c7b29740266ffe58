"""The table of devices, and what their precisions cost."""

from types import SimpleNamespace

import pytest
import torch

from vlframe.distributed.devices import DEVICES, UTILISATION, device_here, device_named, this_cpu


def test_a_card_without_bfloat16_says_so_and_is_fast_in_float16() -> None:
    card = device_named("t4")
    assert card.lacks("bf16") and card.seconds(10**12, "bf16") is None
    assert card.seconds(65 * 10**12, "16") == pytest.approx(1 / UTILISATION)
    assert card.seconds(10**12, "32") > card.seconds(10**12, "16")
    assert not card.lacks("16") and not device_named("h100").lacks("bf16")


@pytest.mark.parametrize(
    ("name", "key"),
    [("NVIDIA H100 80GB HBM3", "h100"), ("Tesla V100-SXM2-32GB", "v100"), ("Tesla T4", "t4"),
     ("NVIDIA GeForce RTX 3090", "rtx3090"), ("NVIDIA A100-SXM4-40GB", "a100"), ("AMD MI300X", "mi300x")],
)  # fmt: skip
def test_cards_are_known_by_the_names_of_drivers(name: str, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    card = SimpleNamespace(name=name, total_memory=100)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: card)
    found = device_here()
    assert (found.words, found.memory) == (name, 94)
    assert (found.bf16, found.f16, found.f32) == (DEVICES[key].bf16, DEVICES[key].f16, DEVICES[key].f32)


def test_training_in_float16_is_for_gpus() -> None:
    assert this_cpu().refuses("16") and not this_cpu().refuses("bf16") and not device_named("h100").refuses("16")
