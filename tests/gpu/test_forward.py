"""One composition on both devices: the same loss, gradients and answers."""

import pytest
import torch
from helpers.compositions import SOUND, batch, clip, image, row, sound, tiny_pipeline

from vlframe.contracts.batch import Batch
from vlframe.model.video_llm import VideoLLM

pytestmark = pytest.mark.gpu


def rows(pipeline, answer: int) -> list:
    return [
        row([clip(pipeline, 1)], 12, answer, 1),
        row([image(pipeline, 2), clip(pipeline, 3)], 9, answer, 2),
        row([], 7, answer, 3),
        row([sound(pipeline, 4)], 6, answer, 4),
        row([clip(pipeline, 1), sound(pipeline, 5, seconds=1.5)], 6, answer, 5),
    ]


def gradients(model: VideoLLM, asked: Batch) -> tuple[float, dict[str, torch.Tensor]]:
    model.zero_grad()
    loss = model(asked).total
    loss.backward()
    found = {name: p.grad.cpu().clone() for name, p in model.named_parameters() if p.grad is not None}
    return loss.item(), found


def test_loss_and_gradients_are_those_of_the_cpu(registry) -> None:
    """float32, every parameter: the loss to 1e-5 of itself, a gradient to 1e-3 of its norm."""
    pipeline = tiny_pipeline(registry, *SOUND)
    mixed = batch(*rows(pipeline, 3))
    loss, expected = gradients(pipeline.model, mixed)
    pipeline.model.to("cuda")
    on_gpu, found = gradients(pipeline.model, mixed.to("cuda"))
    assert on_gpu == pytest.approx(loss, rel=1e-5)
    assert found.keys() == expected.keys() and any(name.startswith("audio_encoder") for name in found)
    for name, gradient in expected.items():
        difference = (found[name] - gradient).norm() / gradient.norm().clamp(min=1e-3)
        assert difference < 1e-3, f"{name}: {difference}"


def test_a_batch_generates_what_each_prompt_generates_alone(registry) -> None:
    pipeline = tiny_pipeline(registry, *SOUND)
    model = pipeline.model.to("cuda")
    prompts = rows(pipeline, 0)
    together = model.generate(batch(*prompts, left=True).to("cuda"), max_new_tokens=8)
    for number, single in enumerate(prompts):
        alone = model.generate(batch(single, left=True).to("cuda"), max_new_tokens=8)[0]
        assert together[number][: len(alone)].tolist() == alone.tolist()
