"""The forward pass: cheaper than the obvious way, and equal to it."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from helpers.compositions import SOUND, batch, clip, image, row, sound, tiny_pipeline
from torch import nn

from vlframe.contracts.batch import MediaUse
from vlframe.model.video_llm import place


@pytest.fixture(scope="module")
def pipeline(registry):
    return tiny_pipeline(registry, *SOUND)


class Calls:
    """How often a module ran, and on how many items."""

    def __init__(self, module: nn.Module) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self.handle = module.register_forward_hook(lambda _, inputs, __: self.shapes.append(tuple(inputs[0].shape)))

    def __enter__(self) -> "Calls":
        return self

    def __exit__(self, *_: object) -> None:
        self.handle.remove()


def test_loss_is_the_cross_entropy_of_the_labelled_positions(pipeline) -> None:
    """Against logits for every position, the way it is usually written."""
    model = pipeline.model
    mixed = batch(row([clip(pipeline, 1)], 12, 4, 1), row([image(pipeline, 2)], 9, 3, 2), row([], 7, 2, 3))
    loss = model(mixed)
    media_NE = model.connect(model.encode(mixed.files), mixed.uses)
    embeds_BSE = place(model.llm.embed(mixed.ids_BS), media_NE, mixed.slots_N)
    logits_PV = model.llm.logits(model.llm(embeds_BSE, mixed.layout)).flatten(0, 1)
    targets_P = torch.full((len(logits_PV),), -100)
    targets_P[mixed.taught_L] = mixed.targets_L
    expected = F.cross_entropy(logits_PV, targets_P, ignore_index=-100, reduction="sum")
    torch.testing.assert_close(loss.total, expected, rtol=1e-5, atol=1e-5)
    assert loss.tokens == 4 + 3 + 2


@pytest.mark.parametrize("left", [False, True])
def test_a_number_may_stand_in_the_place_of_the_first_embedding(pipeline, left: bool) -> None:
    """In training alone: a question is asked with the token's own."""
    plain = [row([], 5, 2, 1), row([image(pipeline, 2)], 9, 3, 2)]
    filled = batch(replace(plain[0], first=1.0), plain[1], left=left)
    embeds_BSE, usual_BSE = pipeline.model.embed(filled), pipeline.model.llm.embed(filled.ids_BS)
    at = filled.ids_BS.shape[1] - 5 if left else 0
    assert bool((embeds_BSE[0, at] == 1).all())
    embeds_BSE[0, at] = usual_BSE[0, at]
    assert torch.equal(embeds_BSE, usual_BSE)
    assert pipeline.model(filled).total != pipeline.model(batch(*plain, left=left)).total
    assert torch.equal(pipeline.model.log_likelihood(filled), pipeline.model.log_likelihood(batch(*plain, left=left)))


def test_a_batch_is_the_sum_of_its_rows_in_loss_and_gradient(pipeline) -> None:
    model = pipeline.model
    rows = [
        row([clip(pipeline, 1)], 12, 4, 1),
        row([image(pipeline, 2), clip(pipeline, 3)], 9, 3, 2),
        row([], 7, 2, 3),
        row([sound(pipeline, 4)], 6, 2, 4),
        row([clip(pipeline, 1), sound(pipeline, 5, seconds=1.5)], 6, 2, 5),
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


def test_text_alone_runs_no_tower(pipeline) -> None:
    with Calls(pipeline.model.parts["encoder"]) as seen, Calls(pipeline.model.parts["audio_encoder"]) as heard:
        pipeline.model(batch(row([], 7, 2, 1), row([], 5, 2, 2)))
    assert seen.shapes == [] and heard.shapes == []


def test_an_image_is_encoded_once_and_equals_a_clip_of_copies(pipeline) -> None:
    model, item = pipeline.model, image(pipeline, 7)
    with Calls(model.parts["encoder"]) as seen, torch.no_grad():
        tokens_NE = model.connect(model.encode([item.file]), [MediaUse(0, item.tokens)])
    assert [shape[:2] for shape in seen.shapes] == [(1, 1)]
    copies_TCYX = item.file.tensor.expand(pipeline.budget.frames, -1, -1, -1)
    with torch.no_grad():
        expected_1NE = model.parts["connector"](
            model.parts["encoder"](pipeline.budget.front_end("image").normalise(copies_TCYX)[None])
        )
    torch.testing.assert_close(tokens_NE, expected_1NE[0], rtol=1e-4, atol=1e-5)


def test_one_file_is_encoded_once_however_often_it_is_asked_for(pipeline) -> None:
    item, other = clip(pipeline, 1), clip(pipeline, 2)
    with Calls(pipeline.model.parts["encoder"]) as seen:
        pipeline.model(batch(row([item], 7, 2, 1), row([other, item], 5, 2, 2), row([item], 6, 2, 3)))
    assert [shape[0] for shape in seen.shapes] == [2]


def test_clips_of_different_lengths_share_a_batch(pipeline) -> None:
    short, long = clip(pipeline, 1, frames=2), clip(pipeline, 2, frames=6)
    model = pipeline.model

    def tokens(*items):
        uses = [MediaUse(number, item.tokens) for number, item in enumerate(items)]
        return model.connect(model.encode([item.file for item in items]), uses).split([item.tokens for item in items])

    together = tokens(short, long)
    torch.testing.assert_close(together[0], tokens(short)[0])
    torch.testing.assert_close(together[1], tokens(long)[0])
    assert len(together[1]) == long.tokens != len(together[0])


def test_logits_are_computed_only_where_there_is_a_label(pipeline) -> None:
    sizes = []
    logits = pipeline.model.llm.logits
    pipeline.model.llm.logits = lambda hidden: (sizes.append(hidden.shape), logits(hidden))[1]
    try:
        pipeline.model(batch(row([clip(pipeline, 1)], 12, 4, 1), row([], 7, 2, 3)))
    finally:
        pipeline.model.llm.logits = logits
    assert [shape[:-1].numel() for shape in sizes] == [6]


def test_a_frozen_encoder_keeps_no_graph_and_the_rest_still_learns(registry) -> None:
    model = (pipeline := tiny_pipeline(registry)).model
    model.parts["encoder"].requires_grad_(False)
    with Calls(model.parts["connector"]) as seen:
        features = []
        handle = model.parts["connector"].register_forward_pre_hook(lambda _, inputs: features.append(inputs[0]))
        model(batch(row([clip(pipeline, 1)], 7, 2, 1))).total.backward()
        handle.remove()
    assert seen.shapes and not features[0].requires_grad
    assert all(p.grad is None for p in model.parts["encoder"].parameters())
    assert all(p.grad is not None for p in model.parts["connector"].parameters())


def test_a_broken_promise_of_token_counts_is_an_error(pipeline) -> None:
    from dataclasses import replace

    lying = replace(clip(pipeline, 1), tokens=3)
    with pytest.raises(RuntimeError, match="had promised 3"):
        pipeline.model(batch(row([lying], 7, 2, 1)))


def test_a_batch_generates_what_each_prompt_generates_alone(pipeline) -> None:
    rows = [row([clip(pipeline, 1)], 5, 0, 1), row([], 9, 0, 2), row([image(pipeline, 3), sound(pipeline, 4)], 3, 0, 3)]
    options = {"max_new_tokens": 6}
    together = pipeline.model.generate(batch(*rows, left=True), **options)
    for number, single in enumerate(rows):
        alone = pipeline.model.generate(batch(single, left=True), **options)[0]
        assert together[number][: len(alone)].tolist() == alone.tolist()


def test_the_token_cache_spares_the_tower_and_changes_nothing(pipeline) -> None:
    from vlframe.model.cache import MediaCache

    cache, asked = MediaCache(items=2), batch(row([clip(pipeline, 1)], 5, 0, 1), left=True)
    first = pipeline.model.generate(asked, cache, max_new_tokens=4)
    with Calls(pipeline.model.parts["encoder"]) as seen:
        again = pipeline.model.generate(asked, cache, max_new_tokens=4)
    assert seen.shapes == [] and first.tolist() == again.tolist()
    pipeline.model.generate(batch(row([clip(pipeline, n) for n in (2, 3, 4)], 5, 0, 1), left=True), cache)
    assert len(cache.tokens) == 2
