"""What is measured. Each case has two sides, ``ours`` and ``reference``, on one composition with the same weights.

``step`` is the work that is timed; ``outputs`` reads from it what both sides must agree on.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from composition import Size, conversations, open_composition
from torch import Tensor, nn
from torch.optim import AdamW

from vlframe.config import PartConfig, StageConfig
from vlframe.data.collate import Collate
from vlframe.data.skips import SkipLog
from vlframe.evaluation.evaluate import ask
from vlframe.evaluation.run import build_benchmark
from vlframe.model.branch import encode_images
from vlframe.training.optim import make_optimizer
from vlframe.training.parts import prepare_parts, set_modes

if TYPE_CHECKING:
    from vlframe.runs.session import Session

LEARNING_RATE = 1e-5
SAMPLED = 256  # numbers of each gradient that are compared


class Case(Protocol):
    def step(self) -> Any: ...
    def outputs(self, result: Any) -> dict[str, np.ndarray]: ...


def in_official_style(session: Session) -> Any:
    """Imported here, so that the process of our side does not hold timm in memory for nothing."""
    from official_style import OfficialStyle

    return OfficialStyle(session)


class TrainingStep:
    """Forward, backward and AdamW on a batch that is ready; the tower is frozen, connector and LLM are trained.

    Our connector computes its blocks again in the backward pass (``recompute``); the official one has no such choice.
    """

    media: tuple[str | None, ...]

    def __init__(self, side: str, size: Size, folder: Path, recompute: bool = True) -> None:
        session = open_composition(size, folder, [f"connector.checkpoint={str(recompute).lower()}"])
        stage = StageConfig(steps=1, lr=LEARNING_RATE, connector=PartConfig("full"), llm=PartConfig("full"))
        prepare_parts(session.model, stage)
        set_modes(session.model, stage)
        rows = session.rows(conversations(folder, self.media), answers=True)
        self.batch = Collate()([rows[index] for index in range(len(rows))])
        self.model: nn.Module = session.model
        if side == "ours":
            self.optimizer = make_optimizer(session.model, stage)
            self.loss = self._our_loss
        else:
            self.model = in_official_style(session)
            normalise = session.model.encoder.pixels.normalise
            waiting = iter(self.batch.media)
            self.pixels = [normalise(next(waiting).tensor) if kind else self.model.zero_image() for kind in self.media]
            self.optimizer = AdamW(
                (p for p in self.model.parameters() if p.requires_grad), LEARNING_RATE, weight_decay=0
            )
            self.loss = lambda: self.model.loss(self.batch, self.pixels)

    def to(self, device: str) -> None:
        """Work there from now on. Parameters stay the same objects, so the optimizer need not know."""
        self.model.to(device)
        self.batch = self.batch.to(device)
        if hasattr(self, "pixels"):
            self.pixels = [item.to(device) for item in self.pixels]

    def _our_loss(self) -> Tensor:
        loss = self.model(self.batch)
        return loss.total / loss.tokens

    def step(self) -> Tensor:
        self.optimizer.zero_grad()
        loss = self.loss()
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def outputs(self, result: Tensor) -> dict[str, np.ndarray]:
        """The loss and a part of every gradient. A part that nothing reached has none, or zeros: the same."""
        found = {"loss": result.cpu().numpy()}
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad and parameter.grad is not None and parameter.grad.any():
                flat = parameter.grad.flatten()
                found[f"gradient of {name}"] = flat[:: max(1, len(flat) // SAMPLED)].clone().cpu().numpy()
        return found


class TextStep(TrainingStep):
    media = (None, None)


class MediaStep(TrainingStep):
    media = ("video", "image")


class ImageForward:
    """One picture through tower and connector, without gradients, so with nothing to ``recompute``."""

    def __init__(self, side: str, size: Size, folder: Path, recompute: bool = False) -> None:
        session = open_composition(size, folder)
        self.model: nn.Module = session.model.eval()
        self.item = session.rows(conversations(folder, ("image",)), answers=True)[0].media[0].tensor
        self.encode = self._ours
        if side == "reference":
            self.item = self.model.encoder.pixels.normalise(self.item)
            self.model = in_official_style(session).eval()
            self.encode = lambda: self.model.encode([self.item])

    def to(self, device: str) -> None:
        """Work there from now on."""
        self.model.to(device)
        self.item = self.item.to(device)

    @torch.no_grad()
    def step(self) -> Tensor:
        return self.encode()

    def _ours(self) -> Tensor:
        return encode_images(self.model.encoder, self.model.connector, self.item[None], self.model.frames)

    def outputs(self, result: Tensor) -> dict[str, np.ndarray]:
        return {"tokens": result.cpu().numpy()}


class Evaluation:
    """Every question of the benchmark, from files to answers. Both sides decode a clip once."""

    def __init__(self, side: str, size: Size, folder: Path) -> None:
        self.session = open_composition(size, folder)
        self.session.model.eval()
        self.benchmark = build_benchmark(self.session)
        self.answers: dict[str, Tensor] = {}
        if side == "ours":
            self._listen()
            self.step = self._ours
        else:
            self.official = in_official_style(self.session).eval()
            self.step = self._reference

    def _listen(self) -> None:
        """Keep the ids of the answers: random weights mostly say what the small tokenizer has no word for."""
        generate = self.session.model.generate

        def listening(batch: Any, *arguments: Any, **sampling: Any) -> Tensor:
            ids_BG = generate(batch, *arguments, **sampling)
            self.answers.update(zip(batch.samples, ids_BG, strict=True))
            return ids_BG

        self.session.model.generate = listening

    def _ours(self) -> None:
        ask(self.session, self.benchmark, SkipLog(), batch_size=self.session.config.evaluation.batch_size)

    @torch.inference_mode()
    def _reference(self) -> None:
        rows = self.session.rows(self.benchmark.samples, answers=False)
        self.answers.update(self.official.ask(rows, self.benchmark.max_new_tokens))

    def outputs(self, result: None) -> dict[str, np.ndarray]:
        return {f"answer to {name}": ids_G.numpy() for name, ids_G in self.answers.items()}


CASES: dict[str, type] = {
    "text_step": TextStep,
    "image_forward": ImageForward,
    "media_step": MediaStep,
    "evaluation": Evaluation,
}
