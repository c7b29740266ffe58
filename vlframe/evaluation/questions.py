"""Opens a run's benchmarks: their questions as put to the model, and early checks of their settings."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from vlframe.config.asking import GENERATE, AskingConfig, asking_of, benchmarks_of
from vlframe.config.fields import MISSING
from vlframe.contracts.sample import Sample
from vlframe.data.first import first_samples
from vlframe.data.opened import open_samples
from vlframe.data.phrasing import phrased
from vlframe.errors import ConfigError, DataError
from vlframe.evaluation.judge import Judge
from vlframe.inference.pipeline import Pipeline

if TYPE_CHECKING:
    from vlframe.contracts.benchmark import Benchmark


@dataclass(frozen=True)
class Question:
    """A question as the benchmark has it and as the model is asked it, its candidates (empty: the model generates), and
    the group of questions about the same files, under a name that is the same on every machine.
    """

    sample: Sample
    asked: Sample
    candidates: tuple[str, ...]
    group: str


@dataclass(frozen=True)
class Questions:
    """An open benchmark. ``pipeline`` is the run's, with the benchmark's number of frames; ``prefix`` begins the flat
    keys of its scores, "" for the run's main one.
    """

    name: str
    benchmark: Benchmark
    judge: Judge
    asking: AskingConfig
    pipeline: Pipeline
    prefix: str

    @property
    def primary_metric(self) -> str:
        """Return the flat key of its primary metric."""
        return f"{self.prefix}{self.judge.primary.name}"

    def less_is_better(self, key: str) -> bool:
        """Return whether a flat key belongs to a metric of this benchmark for which less is better."""
        less = [metric.name for metric in self.judge.metrics if metric.less_is_better]
        keys = {f"{self.prefix}{name}{border}" for name in less for border in ("", "_low", "_high")}
        return any(key == one or key.startswith(f"{one}/") for one in keys)

    @cached_property
    def all(self) -> list[Question]:
        """Return all questions; those about one file are adjacent, so that it is decoded and encoded once."""
        samples = sorted(self.benchmark.samples, key=lambda sample: [str(item.path) for item in sample.media])
        groups = media_groups(samples)
        return [
            Question(sample, phrased(sample, self.asking), self._candidates(sample), group)
            for sample, group in zip(samples, groups, strict=True)
        ]

    @cached_property
    def rotated(self) -> dict[str, Question]:
        """Return the questions whose options can change places, with each option one place further, by id."""
        turn = getattr(self.benchmark, "rotated", None)
        pairs = [(item, turn(item.sample)) for item in self.all] if turn is not None else []
        return {
            item.sample.id: Question(sample, phrased(sample, self.asking), self._candidates(sample), item.group)
            for item, sample in pairs
            if sample is not None
        }

    def _candidates(self, sample: Sample) -> tuple[str, ...]:
        if self.asking.choice == GENERATE:
            return ()
        own = getattr(self.benchmark, "candidates", None)
        found = tuple(sample.options if own is None else own(sample))
        if len(found) < 2:
            raise ConfigError(
                f"benchmark {self.name!r} is asked with choice={self.asking.choice}, and question {sample.id!r} has "
                f"{len(found)} options to choose from; say choice={GENERATE}, or give the question options"
            )
        return found


def media_groups(samples: Sequence[Sample]) -> list[str]:
    """Return the files of each sample, as paths below their common folder; the sample's id if it has no files."""
    paths = [list(dict.fromkeys(str(item.path) for item in sample.media)) for sample in samples]
    folders = {os.path.dirname(path) for several in paths for path in several}
    root = os.path.commonpath(folders) if folders else ""
    return [
        " ".join(os.path.relpath(path, root or ".").replace(os.sep, "/") for path in several) or sample.id
        for sample, several in zip(samples, paths, strict=True)
    ]


def open_benchmarks(pipeline: Pipeline) -> list[Questions]:
    """Open every benchmark of a run, the main one first. UserError: invalid questions, settings or scores."""
    opened = [_open(name, config, pipeline) for name, config in benchmarks_of(pipeline.config).items()]
    for questions in opened:
        _check(questions)
    return opened


def _open(name: str, config: Mapping[str, Any], pipeline: Pipeline) -> Questions:
    registry = pipeline.registry
    place = "benchmark" if config is pipeline.config.benchmark else f"benchmarks.{name}"
    if config.get("dataset") in (None, MISSING):
        raise ConfigError(
            f"benchmark {name!r} has no questions; choose a dataset for it "
            f"({place}.dataset=…, one of {', '.join(registry.names('dataset'))})"
        )
    samples = open_samples(registry, config["dataset"], pipeline.config.moved, f"{place}.dataset")
    dataset = first_samples(samples, pipeline.config.debug.questions)
    built = registry.build("benchmark", config, dataset=dataset)
    prefix = "" if config is pipeline.config.benchmark else f"{name}/"
    asking = asking_of(registry.check("benchmark", config))
    try:
        framed = pipeline.framed(asking.frames, f"{place}.frames")
    except ConfigError as error:
        raise ConfigError(f"benchmark {name!r} asks with frames={asking.frames}: {error}") from error
    return Questions(name, built, Judge(f"benchmark {name!r}", built), asking, framed, prefix)


def _check(questions: Questions) -> None:
    """Check what would otherwise fail only after training."""
    counts = Counter(sample.id for sample in questions.benchmark.samples)
    twins = [name for name, count in counts.items() if count > 1]
    if twins:
        raise DataError(
            f"{len(twins)} id(s) of the benchmark's questions are not unique ({', '.join(twins[:3])}); answers are "
            "identified by them: give each question its own"
        )
    for question in questions.all[:1]:  # builds all of them; judging one shows the kind of scores
        for answer in question.sample.answers[:1]:
            questions.judge(answer, question.sample)
    text = questions.pipeline.config.text
    if questions.asking.choice != GENERATE and (text.thinking or text.too_long == "trim_text"):
        key, why = (
            ("text.thinking=false", "lets the model think before it answers")
            if text.thinking
            else ("text.too_long=drop", "may cut the answers that are compared")
        )
        raise ConfigError(
            f"benchmark {questions.name!r} is asked with choice={questions.asking.choice}, and the config {why}; say "
            f"{key}, or choice={GENERATE}"
        )
