"""Batches of any mixture: what a sample teaches does not depend on its company, its place, or its padding.

Loss and the gradient of every parameter, of the mean over supervised tokens: to 1e-5 of the loss, and to 1e-3 of the
norm of a gradient (float32; the sums are made in other orders).
"""

from dataclasses import replace

import pytest
import torch
from helpers.compositions import SOUND, batch, clip, image, row, sound, tiny_pipeline
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from vlframe.contracts.batch import Batch
from vlframe.contracts.language_model import padded_layout
from vlframe.data.prepare import PreparedSample
from vlframe.inference.pipeline import Pipeline

# No media to many, of one kind or several; few different files, so that a batch may ask for one twice.
MEDIA = st.lists(
    st.tuples(st.sampled_from(["clip", "short clip", "image", "sound", "long sound"]), st.integers(1, 3)), max_size=3
)
ROWS = st.lists(st.tuples(MEDIA, st.integers(1, 9), st.integers(0, 6), st.integers(1, 99)), min_size=1, max_size=4)


@pytest.fixture(scope="module")
def pipeline(registry) -> Pipeline:
    return tiny_pipeline(registry, *SOUND)


def made(pipeline: Pipeline, drawn: tuple) -> PreparedSample:
    media, text, answer, seed = drawn
    make = {
        "clip": lambda number: clip(pipeline, number),
        "short clip": lambda number: clip(pipeline, number, frames=2),
        "image": lambda number: image(pipeline, number),
        "sound": lambda number: sound(pipeline, number, seconds=0.6),
        "long sound": lambda number: sound(pipeline, number, seconds=1.2),
    }
    return row([make[kind](number) for kind, number in media], text + answer, answer, seed)


def learned(pipeline: Pipeline, batches: list[Batch]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The mean loss over the supervised tokens of all batches, and its gradient by parameter (zero where there is
    none), accumulated as training does."""
    model = pipeline.model
    model.zero_grad()
    total, tokens = torch.zeros(()), 0
    for item in batches:
        loss = model(item)
        loss.total.backward()
        total, tokens = total + loss.total.detach(), tokens + loss.tokens
    scale = 1 / max(tokens, 1)
    gradients = {
        name: torch.zeros_like(p) if p.grad is None else p.grad * scale for name, p in model.named_parameters()
    }
    return total * scale, gradients


def assert_same(one: tuple, two: tuple) -> None:
    torch.testing.assert_close(one[0], two[0], rtol=1e-5, atol=1e-6)
    for name, gradient in one[1].items():
        difference = (two[1][name] - gradient).norm() / gradient.norm().clamp(min=1e-3)
        assert difference < 1e-3, f"{name}: {difference}"


def padded(asked: Batch, more: int) -> Batch:
    """The same rows with ``more`` columns of padding, in which stands what is no padding token."""
    rows, length = asked.ids_BS.shape

    def widened(tensor_BS: torch.Tensor, value: int | bool) -> torch.Tensor:
        return torch.cat([tensor_BS, torch.full((rows, more), value, dtype=tensor_BS.dtype)], 1)

    def moved(places: torch.Tensor) -> torch.Tensor:
        return places + places // max(length, 1) * more

    return replace(
        asked,
        ids_BS=widened(asked.ids_BS, 17),
        layout=padded_layout(widened(asked.layout.mask_BS, False)),
        slots_N=moved(asked.slots_N),
        taught_L=moved(asked.taught_L),
    )


@given(drawn=ROWS, random=st.randoms(use_true_random=False))
# Without shrinking: each step of it runs the model a dozen times.
@settings(max_examples=20, deadline=None, derandomize=True, phases=[Phase.explicit, Phase.generate])
def test_company_order_and_padding_change_nothing(pipeline: Pipeline, drawn: list[tuple], random) -> None:
    rows = [made(pipeline, item) for item in drawn]
    together = learned(pipeline, [batch(*rows)])
    assert_same(together, learned(pipeline, [batch(item) for item in rows]))
    shuffled = random.sample(rows, len(rows))
    assert_same(together, learned(pipeline, [padded(batch(*shuffled), random.randint(1, 8))]))


def test_the_gradients_are_there_to_be_compared(pipeline: Pipeline) -> None:
    """Every parameter has one in a batch of everything, and each sense has none in a batch without it."""
    media = [("clip", 1), ("image", 2), ("sound", 3)]
    _, whole = learned(pipeline, [batch(made(pipeline, (media, 5, 3, 1)))])
    assert all(gradient.abs().max() > 0 for name, gradient in whole.items() if not _is_bias_of_keys(name)), [
        name for name, gradient in whole.items() if not gradient.abs().max() > 0
    ]
    _, deaf = learned(pipeline, [batch(made(pipeline, (media[:2], 5, 3, 1)))])
    assert all(not gradient.any() for name, gradient in deaf.items() if name.startswith("branches.audio"))


def _is_bias_of_keys(name: str) -> bool:
    """Softmax does not see what is added to all keys: such a gradient is rounding."""
    return name.endswith(("k_proj.bias", "key.bias"))
