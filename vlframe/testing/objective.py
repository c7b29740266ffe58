"""Checks of objectives, on a composition that can compute them."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from vlframe.contracts.language_model import Loss
from vlframe.contracts.sample import Media, Sample, Turn
from vlframe.data.collate import Collate
from vlframe.errors import UserError
from vlframe.inference.pipeline import Pipeline, build_pipeline
from vlframe.model.objectives import check_objectives
from vlframe.testing.subject import Subject

SAMPLES = 3
CAPTIONS = ("a red square", "two blue circles above a line", "nothing at all")


def check_objective(
    component: str | type,
    params: Mapping[str, Any] | None = None,
    *,
    run: Sequence[str] = (),
    plugins: Sequence[str] = (),
) -> None:
    """Check an objective. ``run`` are overrides of ``train`` that choose small parts which can compute it; ``plugins``
    are single files.
    """
    from vlframe.composer.compose import compose, open_registry

    subject = Subject("objective", component, params or {}, plugins)
    objective = subject.build()
    for name, meaning in (
        ("uses_llm", "True or False: whether it runs the language model"),
        ("joint", "True or False: whether a rank's loss depends on the samples of others"),
    ):
        subject.attribute(type(objective), name, bool, meaning)
    subject.attribute(type(objective), "needs", Mapping, "what the connector must have: {attribute: words}")
    subject.pickles(objective, "it")
    if isinstance(objective, torch.nn.Module) and list(objective.parameters()):
        subject.fail("has parameters of its own, which no checkpoint would hold; they belong to a part")
    registry = open_registry(plugins)
    with subject.doing("composing run=", refusals=True, chance=True):
        pipeline = build_pipeline(compose("train", ["trainer.accelerator=cpu", *run], registry), registry)
    try:
        check_objectives({}, pipeline.model, pipeline.config, registry)
    except UserError as error:
        subject.fail(f"the parts of run= do not fit it: {error}")
    if missing := [name for name in objective.needs if _of_connector(pipeline, name) is None]:
        subject.fail(f"needs {', '.join(missing)} of the connector, which that of run= has not")
    _check_loss(subject, objective, pipeline)


def _of_connector(pipeline: Pipeline, name: str) -> Any:
    return getattr(pipeline.model.branches["video"].connector, name, None)


def _check_loss(subject: Subject, objective: Any, pipeline: Pipeline) -> None:
    with tempfile.TemporaryDirectory() as folder:
        prepared = pipeline.prepared(_samples(Path(folder)), answers=True, objective=objective)
        with subject.doing("write() of captioned images"):
            batch = Collate()([prepared[number] for number in range(SAMPLES)])
    model = pipeline.model.eval()
    losses = []
    for _ in range(2):
        with torch.random.fork_rng(devices=[]), subject.doing("loss()"):
            torch.manual_seed(0)
            losses.append(objective.loss(model, batch))
    first, again = losses
    if not isinstance(first, Loss) or first.total.ndim or not first.total.is_floating_point():
        subject.fail(f"loss() gives {first!r}; it must give a vlframe.Loss whose total is a floating-point scalar")
    if not isinstance(first.tokens, int) or first.tokens < 1:
        subject.fail(f"loss() of {SAMPLES} samples counts {first.tokens!r}; it must be a whole number, at least 1")
    if not first.total.isfinite() or not first.total.requires_grad:
        subject.fail(f"loss() is {float(first.total)}, or nothing can learn from it")
    if not torch.equal(first.total, again.total):
        subject.fail("loss() differs with the same random state of torch, so that a resumed run would, too")
    if first.terms is not None and not torch.allclose(sum(first.terms.values(), first.total * 0), first.total):
        subject.fail("the terms of loss() do not add up to its total")
    if objective.joint:
        with subject.doing("loss() of an empty batch, which a rank may have"):
            empty = objective.loss(model, Collate()([]))
        if empty.tokens or float(empty.total):
            subject.fail(f"loss() of an empty batch is {float(empty.total)} over {empty.tokens}; both must be 0")


def _samples(folder: Path) -> list[Sample]:
    """Return images of one colour each, with a caption."""
    found = []
    for number, caption in enumerate(CAPTIONS[:SAMPLES]):
        path = folder / f"{number}.png"
        Image.new("RGB", (64, 48), (80 * number, 40, 200 - 60 * number)).save(path)
        turns = (Turn("user", "<image>\nWhat is there?"), Turn("assistant", caption))
        found.append(Sample(str(number), turns, (Media("image", path),), caption))
    return found
