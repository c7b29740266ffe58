"""Asks a benchmark's questions and judges the answers. What could not be asked or parsed is counted, never dropped or
guessed.

Questions about one file are adjacent, so that it is decoded and encoded once. Several ranks share the questions,
keeping those about one file on one rank, and then gather the answers.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any

from vlframe.config.asking import GENERATE
from vlframe.contracts.batch import Batch, Quarantined
from vlframe.contracts.sample import Sample
from vlframe.data.collate import Collate
from vlframe.data.loader import data_loader
from vlframe.distributed.ranks import of_all_ranks, place
from vlframe.errors import DataError
from vlframe.evaluation.likelihood import (
    Candidate,
    CandidateRows,
    CollateCandidates,
    answered,
    candidates_of,
    chosen,
)
from vlframe.inference.generate import before_stop, with_stops
from vlframe.inference.pipeline import inference, pick_device
from vlframe.model.cache import MediaCache
from vlframe.runs.quarantine import QuarantineLimit, QuarantineLog
from vlframe.runs.sampled import SamplerNotes

if TYPE_CHECKING:
    from torch.utils.data import DataLoader

    from vlframe.contracts.benchmark import Metric, Value
    from vlframe.evaluation.questions import Question, Questions

CACHED_MEDIA = 64  # media whose tokens are kept; questions are ordered by medium, so few are needed


@dataclass(frozen=True)
class Reply:
    """A model's reply; for a choice by likelihood, also the candidates."""

    text: str
    candidates: tuple[Candidate, ...] = ()


@dataclass(frozen=True)
class Prediction:
    """A question, the model's reply, its parsed form (``parsed`` is None if it cannot be parsed), and its value by each
    metric. ``group`` names the files that the question is about.
    """

    sample: Sample
    text: str
    parsed: str | None
    scores: Mapping[str, Value]
    benchmark: str = ""
    group: str = ""
    candidates: tuple[Candidate, ...] = ()

    def row(self) -> dict[str, Any]:
        sample = self.sample
        return {
            "benchmark": self.benchmark,
            "id": sample.id,
            "group": self.group,
            "category": sample.category,
            "question": "\n".join(turn.text for turn in sample.turns if turn.role == "user"),
            "options": list(sample.options),
            "answers": list(sample.answers),
            "text": self.text,
            "parsed": self.parsed,
            "scores": {name: list(value) if isinstance(value, tuple) else value for name, value in self.scores.items()},
            "candidates": [asdict(candidate) for candidate in self.candidates],
            "media": [str(item.path) for item in sample.media],
        }


@dataclass(frozen=True)
class Outcome:
    """The result of asking a benchmark. ``asked`` counts all its questions by category ("" for none), including
    those quarantined.
    """

    predictions: list[Prediction]
    asked: Mapping[str, int]
    seconds: float
    metrics: Sequence[Metric]
    notes: SamplerNotes = field(default_factory=SamplerNotes)

    def categories(self) -> dict[str, list[Prediction]]:
        """Return the predictions by category, including categories whose questions were all quarantined."""
        groups = defaultdict(list)
        for prediction in self.predictions:
            groups[prediction.sample.category].append(prediction)
        return {name: groups[name] for name in sorted(self.asked) if name}


def categories_quarantined(outcome: Outcome, name: str, quarantine: QuarantineLog, limit: float | None) -> str:
    """Describe the categories of which no question could be asked; "" if there are none, or that is allowed."""
    none = [category for category, answered in outcome.categories().items() if not answered]
    if not none or limit is None:
        return ""
    counts = ", ".join(f"{category!r}: all {outcome.asked[category]}" for category in none)
    return (
        f"the questions of {len(none)} of {len(outcome.categories())} categories of benchmark {name!r} were "
        f"quarantined whole ({counts}), so that its scores lack them. {quarantine.summary()}; "
        "media.max_bad_share=null accepts it"
    )


def ask(
    questions: Questions, quarantine: QuarantineLog, *, batch_size: int, withhold: Sequence[str] | None = None
) -> Outcome:
    """Ask a model every question of a benchmark, in batches. All ranks call this, and get the whole outcome."""
    started = time.perf_counter()
    every = questions.all
    rank, world = place()
    mine = [every[at] for at in shares([question.sample for question in every], world)[rank]]
    replies: dict[str, Reply] = {}
    quarantined: list[Quarantined] = []
    mine_notes, notes = SamplerNotes(), []
    limit = questions.pipeline.config.media.max_bad_share
    # Questions are ordered by path, not shuffled, so the limit counts against all of them.
    mine_bad, bad = (QuarantineLimit(limit, len(every)) for _ in range(2))
    for batch, answers in _answers(questions, mine, batch_size, withhold):
        quarantined += batch.quarantined
        mine_notes.add(batch)
        replies |= answers
        met = len(answers) + len(batch.quarantined)
        if mine_bad.add(met, len(batch.quarantined)):  # too many even for all ranks together; they learn of it below
            break
    mine_all = (replies, quarantined, (mine_bad.met, mine_bad.bad), mine_notes)
    for theirs, lost, counts, noted in of_all_ranks(mine_all):
        replies |= theirs
        notes.append(noted)
        quarantine.add(lost)
        bad.add(*counts)
    bad.check(quarantine)
    if not replies:
        raise DataError(
            f"none of the {len(every)} questions of the benchmark could be asked ({quarantine}). {quarantine.summary()}"
            if every
            else "the benchmark has no question"
        )
    predictions = [_read(item, replies[item.sample.id], questions) for item in every if item.sample.id in replies]
    asked = Counter(question.sample.category for question in every)
    metrics, together = questions.judge.metrics, SamplerNotes.together(notes)
    return Outcome(predictions, asked, time.perf_counter() - started, metrics, together)


def shares(samples: Sequence[Sample], world: int) -> list[list[int]]:
    """Return the positions of the samples that each rank asks. Neighbours with the same media stay together; each group
    goes to the rank with the fewest questions so far.
    """
    result: list[list[int]] = [[] for _ in range(world)]
    for _, group in groupby(range(len(samples)), key=lambda at: samples[at].media or at):
        min(result, key=len).extend(group)
    return result


def _answers(
    questions: Questions, mine: Sequence[Question], batch_size: int, withhold: Sequence[str] | None
) -> Iterator[tuple[Batch, dict[str, Reply]]]:
    """Yield each batch with the replies to its questions, by id."""
    pipeline = questions.pipeline
    device = pick_device(pipeline)
    pipeline.model.to(device).eval()
    cache = MediaCache(CACHED_MEDIA)
    generated = questions.asking.choice == GENERATE
    loader = (_prompts if generated else _candidates)(questions, mine, batch_size, withhold)
    texts = {question.sample.id: question.candidates for question in mine}
    with inference(pipeline, device):
        for batch in loader:
            if not len(batch):
                yield batch, {}
            elif generated:
                yield batch, _written(questions, batch, cache)
            else:
                yield batch, _chosen(questions, batch, cache, texts)


def _prompts(
    questions: Questions, mine: Sequence[Question], batch_size: int, withhold: Sequence[str] | None
) -> DataLoader:
    pipeline = questions.pipeline
    rows = pipeline.prepared([question.asked for question in mine], answers=False, withhold=withhold)
    return data_loader(rows, pipeline.config.loader, batch_size=batch_size, collate_fn=Collate(left=True))


def _candidates(
    questions: Questions, mine: Sequence[Question], batch_size: int, withhold: Sequence[str] | None
) -> DataLoader:
    """Return batches of whole questions, of about ``batch_size`` rows."""
    pipeline = questions.pipeline
    prepared = pipeline.prepared(answered(mine), answers=True, training=False, withhold=withhold)
    most = max((len(question.candidates) for question in mine), default=1)
    return data_loader(
        CandidateRows(prepared, mine),
        pipeline.config.loader,
        batch_size=max(batch_size // most, 1),
        collate_fn=CollateCandidates(),
    )


def _written(questions: Questions, batch: Batch, cache: MediaCache) -> dict[str, Reply]:
    pipeline = questions.pipeline
    model = pipeline.model
    sampling = with_stops(pipeline, {"max_new_tokens": questions.benchmark.max_new_tokens})
    ids_BG = model.generate(batch.to(model.device), cache, **sampling)
    texts = model.llm.tokenizer.batch_decode(ids_BG, skip_special_tokens=True)
    return {
        name: Reply(before_stop(text, pipeline.stop_strings)) for name, text in zip(batch.samples, texts, strict=True)
    }


def _chosen(
    questions: Questions, batch: Batch, cache: MediaCache, texts: Mapping[str, Sequence[str]]
) -> dict[str, Reply]:
    rows = [text for name in dict.fromkeys(batch.samples) for text in texts[name]]
    found: dict[str, list[Candidate]] = {}
    for name, candidate in candidates_of(questions.pipeline.model, batch, cache, rows):
        found.setdefault(name, []).append(candidate)
    choice = questions.asking.choice
    return {name: Reply(chosen(several, choice).text, tuple(several)) for name, several in found.items()}


def _read(question: Question, reply: Reply, questions: Questions) -> Prediction:
    judgement = questions.judge(reply.text, question.sample)
    return Prediction(
        question.sample,
        reply.text,
        judgement.parsed,
        judgement.values,
        questions.name,
        question.group,
        reply.candidates,
    )
