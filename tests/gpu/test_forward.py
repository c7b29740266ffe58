"""One composition on both devices: the same loss, gradients and answers."""

import pytest
import torch
from helpers.compositions import SOUND, batch, clip, image, row, sound, tiny_session

from vlframe.data.batch import Batch
from vlframe.model.video_llm import VideoLLM

pytestmark = pytest.mark.gpu


def rows(session, answer: int) -> list:
    return [
        row([clip(session, 1)], 12, answer, 1),
        row([image(session, 2), clip(session, 3)], 9, answer, 2),
        row([], 7, answer, 3),
        row([sound(session, 4)], 6, answer, 4),
        row([clip(session, 1), sound(session, 5, seconds=1.5)], 6, answer, 5),
    ]


def gradients(model: VideoLLM, asked: Batch) -> tuple[float, dict[str, torch.Tensor]]:
    model.zero_grad()
    loss = model(asked).total
    loss.backward()
    found = {name: p.grad.cpu().clone() for name, p in model.named_parameters() if p.grad is not None}
    return loss.item(), found


def test_loss_and_gradients_are_those_of_the_cpu(registry) -> None:
    """float32, every parameter: the loss to 1e-5 of itself, a gradient to 1e-3 of its norm."""
    session = tiny_session(registry, *SOUND)
    mixed = batch(*rows(session, 3))
    loss, expected = gradients(session.model, mixed)
    session.model.to("cuda")
    on_gpu, found = gradients(session.model, mixed.to("cuda"))
    assert on_gpu == pytest.approx(loss, rel=1e-5)
    assert found.keys() == expected.keys() and any(name.startswith("audio_encoder") for name in found)
    for name, gradient in expected.items():
        difference = (found[name] - gradient).norm() / gradient.norm().clamp(min=1e-3)
        assert difference < 1e-3, f"{name}: {difference}"


def test_a_batch_generates_what_each_prompt_generates_alone(registry) -> None:
    session = tiny_session(registry, *SOUND)
    model = session.model.to("cuda")
    prompts = rows(session, 0)
    together = model.generate(batch(*prompts, left=True).to("cuda"), max_new_tokens=8)
    for number, single in enumerate(prompts):
        alone = model.generate(batch(single, left=True).to("cuda"), max_new_tokens=8)[0]
        assert together[number][: len(alone)].tolist() == alone.tolist()
