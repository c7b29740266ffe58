"""The forward pass: cheaper than the obvious way, and equal to it."""

import pytest
import torch
import torch.nn.functional as F
from helpers.compositions import SOUND, batch, clip, image, row, sound, tiny_session
from torch import nn

from vlframe.data.batch import UNLABELLED


@pytest.fixture(scope="module")
def session(registry):
    return tiny_session(registry, *SOUND)


class Calls:
    """How often a module ran, and on how many items."""

    def __init__(self, module: nn.Module) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self.handle = module.register_forward_hook(lambda _, inputs, __: self.shapes.append(tuple(inputs[0].shape)))

    def __enter__(self) -> "Calls":
        return self

    def __exit__(self, *_: object) -> None:
        self.handle.remove()


def test_loss_is_the_cross_entropy_of_the_labelled_positions(session) -> None:
    """Against logits for every position, the way it is usually written."""
    model = session.model
    mixed = batch(row([clip(session, 1)], 12, 4, 1), row([image(session, 2)], 9, 3, 2), row([], 7, 2, 3))
    loss = model(mixed)
    logits_BSV = model.llm.logits(model.llm(model.embed(mixed), mixed.mask_BS))
    expected = F.cross_entropy(
        logits_BSV[:, :-1].flatten(0, 1), mixed.labels_BS[:, 1:].flatten(), ignore_index=UNLABELLED, reduction="sum"
    )
    torch.testing.assert_close(loss.total, expected, rtol=1e-5, atol=1e-5)
    assert loss.tokens == 4 + 3 + 2


def test_a_batch_is_the_sum_of_its_rows_in_loss_and_gradient(session) -> None:
    model = session.model
    rows = [
        row([clip(session, 1)], 12, 4, 1),
        row([image(session, 2), clip(session, 3)], 9, 3, 2),
        row([], 7, 2, 3),
        row([sound(session, 4)], 6, 2, 4),
        row([clip(session, 1), sound(session, 5, seconds=1.5)], 6, 2, 5),
    ]
    model.zero_grad()
    total = model(batch(*rows)).total
    total.backward()
    together = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    alone = sum(_backward(model(batch(single)).total) for single in rows)
    torch.testing.assert_close(total, alone, rtol=1e-4, atol=1e-4)
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            scale = parameter.grad.norm().clamp(min=1e-3)
            torch.testing.assert_close(together[name] / scale, parameter.grad / scale, rtol=1e-3, atol=1e-3, msg=name)


def _backward(loss: torch.Tensor) -> torch.Tensor:
    loss.backward()
    return loss.detach()


def test_text_alone_runs_no_tower(session) -> None:
    with Calls(session.model.encoder) as seen, Calls(session.model.audio_encoder) as heard:
        session.model(batch(row([], 7, 2, 1), row([], 5, 2, 2)))
    assert seen.shapes == [] and heard.shapes == []


def test_an_image_is_encoded_once_and_equals_a_clip_of_copies(session) -> None:
    model, item = session.model, image(session, 7)
    with Calls(model.encoder) as seen, torch.no_grad():
        tokens_NE = model.encode([item])[0]
    assert [shape[:2] for shape in seen.shapes] == [(1, 1)]
    copies_TCYX = item.tensor.expand(session.plan.frames, -1, -1, -1)
    with torch.no_grad():
        expected_1NE = model.connector(model.encoder(session.plan.pixels.normalise(copies_TCYX)[None]))
    torch.testing.assert_close(tokens_NE, expected_1NE[0], rtol=1e-4, atol=1e-5)


def test_one_file_is_encoded_once_however_often_it_is_asked_for(session) -> None:
    item, other = clip(session, 1), clip(session, 2)
    with Calls(session.model.encoder) as seen:
        session.model(batch(row([item], 7, 2, 1), row([other, item], 5, 2, 2), row([item], 6, 2, 3)))
    assert [shape[0] for shape in seen.shapes] == [2]


def test_clips_of_different_lengths_share_a_batch(session) -> None:
    short, long = clip(session, 1, frames=2), clip(session, 2, frames=6)
    together = session.model.encode([short, long, short])
    torch.testing.assert_close(together[0], session.model.encode([short])[0])
    torch.testing.assert_close(together[1], session.model.encode([long])[0])
    assert len(together[1]) == session.plan.tokens("video", 6) != len(together[0])


def test_logits_are_computed_only_where_there_is_a_label(session) -> None:
    sizes = []
    logits = session.model.llm.logits
    session.model.llm.logits = lambda hidden: (sizes.append(hidden.shape), logits(hidden))[1]
    try:
        session.model(batch(row([clip(session, 1)], 12, 4, 1), row([], 7, 2, 3)))
    finally:
        session.model.llm.logits = logits
    assert [shape[:-1].numel() for shape in sizes] == [6]


def test_a_frozen_encoder_keeps_no_graph_and_the_rest_still_learns(registry) -> None:
    model = (session := tiny_session(registry)).model
    model.encoder.requires_grad_(False)
    with Calls(model.connector) as seen:
        features = []
        handle = model.connector.register_forward_pre_hook(lambda _, inputs: features.append(inputs[0]))
        model(batch(row([clip(session, 1)], 7, 2, 1))).total.backward()
        handle.remove()
    assert seen.shapes and not features[0].requires_grad
    assert all(p.grad is None for p in model.encoder.parameters())
    assert all(p.grad is not None for p in model.connector.parameters())


def test_a_broken_promise_of_token_counts_is_an_error(session) -> None:
    from dataclasses import replace

    lying = replace(clip(session, 1), tokens=3)
    with pytest.raises(RuntimeError, match="had promised 3"):
        session.model(batch(row([lying], 7, 2, 1)))


def test_a_batch_generates_what_each_prompt_generates_alone(session) -> None:
    rows = [row([clip(session, 1)], 5, 0, 1), row([], 9, 0, 2), row([image(session, 3), sound(session, 4)], 3, 0, 3)]
    options = {"max_new_tokens": 6}
    together = session.model.generate(batch(*rows, left=True), **options)
    for number, single in enumerate(rows):
        alone = session.model.generate(batch(single, left=True), **options)[0]
        assert together[number][: len(alone)].tolist() == alone.tolist()


def test_the_token_cache_spares_the_tower_and_changes_nothing(session) -> None:
    from vlframe.model.video_llm import TokenCache

    cache, asked = TokenCache(items=2), batch(row([clip(session, 1)], 5, 0, 1), left=True)
    first = session.model.generate(asked, cache, max_new_tokens=4)
    with Calls(session.model.encoder) as seen:
        again = session.model.generate(asked, cache, max_new_tokens=4)
    assert seen.shapes == [] and first.tolist() == again.tolist()
    session.model.generate(batch(row([clip(session, n) for n in (2, 3, 4)], 5, 0, 1), left=True), cache)
    assert len(cache.tokens) == 2
