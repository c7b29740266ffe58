"""Checks of processors, on a composition of small parts."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from vlframe.contracts.modalities import PLACEHOLDERS
from vlframe.contracts.processor import TokenizedSample
from vlframe.contracts.sample import Sample, Turn
from vlframe.data.collate import Collate
from vlframe.inference.pipeline import Pipeline, build_pipeline
from vlframe.testing.matrix import small_samples
from vlframe.testing.subject import Subject

WORDS = Sample("words", (Turn("user", "Which day follows Monday?"), Turn("assistant", "Tuesday")))


def check_processor(
    component: str | type,
    params: Mapping[str, Any] | None = None,
    *,
    run: Sequence[str] = (),
    samples: Sequence[Sample] = (),
    plugins: Sequence[str] = (),
) -> None:
    """Check a processor. ``run`` are overrides of ``train`` that choose small parts it fits; ``samples`` are
    conversations besides a clip, a picture, and one in words only.
    """
    from vlframe.composer.compose import compose, open_registry

    subject = Subject("processor", component, params or {}, plugins)
    processor = subject.build()
    subject.pickles(processor, "it")
    registry = open_registry(plugins)
    with subject.doing("composing run=", refusals=True, chance=True):
        pipeline = build_pipeline(compose("train", ["trainer.accelerator=cpu", *run], registry), registry)
    pipeline = replace(pipeline, processor=processor, _loaders={})
    with tempfile.TemporaryDirectory() as folder:
        tried = [*small_samples("video", Path(folder)), WORDS, *samples]
        for sample in tried:
            for training in (True, False):
                _check_written(subject, pipeline, sample, training=training)
        _check_batch(subject, pipeline, tried)
    subject.passed("tokens: one placeholder for each medium, marks for each token, answers taught and only in training")
    subject.passed("media and tokens are the same when they are read and written again")


def _check_written(subject: Subject, pipeline: Pipeline, sample: Sample, *, training: bool) -> None:
    what = f"write() of {sample.id!r} {'with' if training else 'without'} its answer"
    loader = pipeline.prepared([sample], answers=training).loader
    with subject.doing(f"timeline() of {sample.id!r}"):
        timelines = [loader.timeline(item) for item in sample.media]
    for item in sample.media:
        with subject.doing(f"repeatable() of {sample.id!r}"):
            repeatable = pipeline.processor.repeatable(item)  # type: ignore[union-attr]
        if not isinstance(repeatable, bool):
            subject.fail("repeatable() gives no True or False: whether reading a file again gives the same")
    tokenizer = pipeline.model.llm.tokenizer
    with subject.doing(what):
        written, again = (
            pipeline.processor.write(sample, timelines, tokenizer, pipeline.budget, training=training)  # type: ignore[union-attr]
            for _ in range(2)
        )
    if written is None:  # left to vlframe
        return
    if not isinstance(written, TokenizedSample):
        subject.fail(f"{what} gives a {type(written).__name__}; it must give a vlframe.TokenizedSample, or None")
    if written != again:
        subject.fail(f"{what} differs from call to call; chance belongs to the run, by its seed")
    if len(written.ids) != len(written.supervised):
        subject.fail(f"{what} gives {len(written.ids)} ids and {len(written.supervised)} marks of what is supervised")
    wanted = [] if written.apart else [PLACEHOLDERS[item.kind] for item in written.media]
    if (found := [number for number in written.ids if number < 0]) != wanted:
        subject.fail(f"{what} gives the placeholders {found} for the media {wanted}; there is one for each, in order")
    if [number for number in written.ids if number >= len(tokenizer)]:
        subject.fail(f"{what} gives ids that its tokenizer of {len(tokenizer)} words has not")
    taught = [number for number, is_taught in zip(written.ids, written.supervised, strict=True) if is_taught]
    if any(number < 0 for number in taught):
        subject.fail(f"{what} supervises a placeholder; a medium is no word that could be learned")
    if training and not taught:
        subject.fail(f"{what} supervises nothing; the answer is what is learned")
    _check_words(subject, tokenizer, what, sample, written, taught if training else None)
    if not training and sample.turns[-1].text in tokenizer.decode([number for number in written.ids if number >= 0]):
        subject.fail(f"{what} writes the answer, which is asked for")


def _check_words(
    subject: Subject, tokenizer: Any, what: str, sample: Sample, written: TokenizedSample, taught: list[int] | None
) -> None:
    """Check that the question is there, and that an answer is taught, with its end, and nothing of the question."""
    *_, asked, reply = (turn.text.splitlines()[-1].strip() for turn in sample.turns)
    if asked not in tokenizer.decode([number for number in written.ids if number >= 0]):
        subject.fail(f"{what} loses the question, {asked!r}")
    if taught is None:
        return
    text = tokenizer.decode(taught)
    _, found, rest = text.rpartition(reply)
    if not found:
        subject.fail(f"{what} supervises {text[:80]!r}; it must be the answer, {reply!r}, whole")
    if asked in text:
        subject.fail(f"{what} supervises the question, {asked!r}; only answers are learned")
    if not rest.strip():
        subject.fail(f"{what} supervises the answer without an end, so that the model would not learn to stop")


def _check_batch(subject: Subject, pipeline: Pipeline, samples: Sequence[Sample]) -> None:
    """Check that a batch of all goes through the model, and is the same when it is made again."""
    batches = []
    for _ in range(2):
        with subject.doing("reading and writing a batch"):
            rows = pipeline.prepared(samples, answers=True)
            batches.append(Collate()([rows[number] for number in range(len(samples))]))
    first, again = batches
    same = all(torch.equal(*pair) for pair in zip(_tensors(first), _tensors(again), strict=True))
    if not same and all(pipeline.processor.repeatable(item) for sample in samples for item in sample.media):  # type: ignore[union-attr]
        subject.fail("says that files are repeatable, and a batch that is read again differs")
    with torch.no_grad(), subject.doing("the model's loss of a batch"):
        loss = pipeline.model.eval()(first)
    if not loss.total.isfinite():
        subject.fail(f"the model's loss of a batch is {float(loss.total)}")


def _tensors(batch: Any) -> list[torch.Tensor]:
    return [batch.ids_BS, *(item.tensor for item in batch.files)]
