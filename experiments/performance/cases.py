"""The measured cases. Each has two sides, ``ours`` and ``reference``, on one composition with the same weights.

``step`` is the timed work; ``outputs`` returns what both sides must agree on.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from composition import Size, conversations, open_composition
from torch import Tensor, nn
from torch.optim import AdamW

from vlframe.config.schema import PartConfig, StageConfig
from vlframe.contracts.batch import MediaUse
from vlframe.data.collate import Collate
from vlframe.evaluation.evaluate import ask
from vlframe.evaluation.questions import open_benchmarks
from vlframe.runs.quarantine import QuarantineLog
from vlframe.training.optim import make_optimizer
from vlframe.training.trainable import prepare_parts, set_modes

if TYPE_CHECKING:
    from vlframe.inference.pipeline import Pipeline

LEARNING_RATE = 1e-5
SAMPLED = 256  # compared values of each gradient


class Case(Protocol):
    def step(self) -> Any: ...
    def outputs(self, result: Any) -> dict[str, np.ndarray]: ...


def in_official_style(pipeline: Pipeline) -> Any:
    """Import it here, so that the process of our side does not load timm for nothing."""
    from official_style import OfficialStyle

    return OfficialStyle(pipeline)


class TrainingStep:
    """Forward, backward and AdamW on a prepared batch; the tower is frozen, connector and LLM are trained.

    Our connector recomputes its blocks in the backward pass (``recompute``); the official one has no such option.
    """

    media: tuple[str | None, ...]

    def __init__(self, side: str, size: Size, folder: Path, recompute: bool = True) -> None:
        pipeline = open_composition(size, folder)
        if recompute:
            pipeline.model.parts["connector"].enable_gradient_checkpointing()
        stage = StageConfig(steps=1, lr=LEARNING_RATE, connector=PartConfig("full"), llm=PartConfig("full"))
        prepare_parts(pipeline.model, stage)
        set_modes(pipeline.model)
        rows = pipeline.prepared(conversations(folder, self.media), answers=True)
        self.batch = Collate()([rows[index] for index in range(len(rows))])
        self.model: nn.Module = pipeline.model
        if side == "ours":
            self.optimizer = make_optimizer(pipeline.model, stage)
            self.loss = self._our_loss
        else:
            self.model = in_official_style(pipeline)
            normalise = pipeline.model.parts["encoder"].pixels.normalise
            waiting = iter([self.batch.files[use.file] for use in self.batch.uses])
            self.pixels = [normalise(next(waiting).tensor) if kind else self.model.zero_image() for kind in self.media]
            self.optimizer = AdamW(
                (p for p in self.model.parameters() if p.requires_grad), LEARNING_RATE, weight_decay=0
            )
            self.loss = lambda: self.model.loss(self.batch, self.pixels)

    def to(self, device: str) -> None:
        """Move to ``device``. Parameters stay the same objects, so the optimizer need not know."""
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
        """Return the loss and a part of every gradient. A gradient that is None counts as zeros."""
        found = {"loss": result.cpu().numpy()}
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad and parameter.grad is not None and parameter.grad.any():
                flat = parameter.grad.flatten()
                found[f"gradient of {name.removeprefix('branches.video.')}"] = (
                    flat[:: max(1, len(flat) // SAMPLED)].clone().cpu().numpy()
                )
        return found


class TextStep(TrainingStep):
    media = (None, None)


class MediaStep(TrainingStep):
    media = ("video", "image")


class ImageForward:
    """One picture through tower and connector, without gradients, so ``recompute`` does not apply."""

    def __init__(self, side: str, size: Size, folder: Path, recompute: bool = False) -> None:
        pipeline = open_composition(size, folder)
        self.model: nn.Module = pipeline.model.eval()
        self.file = pipeline.prepared(conversations(folder, ("image",)), answers=True)[0].media[0]
        self.item = self.file.file.tensor
        self.encode = self._ours
        if side == "reference":
            self.item = self.model.parts["encoder"].pixels.normalise(self.item)
            self.model = in_official_style(pipeline).eval()
            self.encode = lambda: self.model.encode([self.item])

    def to(self, device: str) -> None:
        """Move to ``device``."""
        self.model.to(device)
        self.item = self.item.to(device)

    @torch.no_grad()
    def step(self) -> Tensor:
        return self.encode()

    def _ours(self) -> Tensor:
        file = replace(self.file.file, tensor=self.item)
        return self.model.connect(self.model.encode([file]), [MediaUse(0, self.file.tokens)])[None]

    def outputs(self, result: Tensor) -> dict[str, np.ndarray]:
        return {"tokens": result.cpu().numpy()}


class Evaluation:
    """All questions of the benchmark, from files to answers. Both sides decode a clip once."""

    def __init__(self, side: str, size: Size, folder: Path) -> None:
        self.pipeline = open_composition(size, folder)
        self.pipeline.model.eval()
        (self.questions,) = open_benchmarks(self.pipeline)
        self.benchmark = self.questions.benchmark
        self.answers: dict[str, Tensor] = {}
        if side == "ours":
            self._listen()
            self.step = self._ours
        else:
            self.official = in_official_style(self.pipeline).eval()
            self.step = self._reference

    def _listen(self) -> None:
        """Keep the ids of the answers: random weights mostly generate ids outside the small tokenizer's vocabulary."""
        generate = self.pipeline.model.generate

        def listening(batch: Any, *arguments: Any, **sampling: Any) -> Tensor:
            ids_BG = generate(batch, *arguments, **sampling)
            self.answers.update(zip(batch.samples, ids_BG, strict=True))
            return ids_BG

        self.pipeline.model.generate = listening

    def _ours(self) -> None:
        ask(self.questions, QuarantineLog(), batch_size=self.pipeline.config.evaluation.batch_size)

    @torch.inference_mode()
    def _reference(self) -> None:
        rows = self.pipeline.prepared(self.benchmark.samples, answers=False)
        self.answers.update(self.official.ask(rows, self.benchmark.max_new_tokens))

    def outputs(self, result: None) -> dict[str, np.ndarray]:
        return {f"answer to {name}": ids_G.numpy() for name, ids_G in self.answers.items()}


CASES: dict[str, type] = {
    "text_step": TextStep,
    "image_forward": ImageForward,
    "media_step": MediaStep,
    "evaluation": Evaluation,
}
