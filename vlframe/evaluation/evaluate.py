"""Asks a benchmark's questions and judges the answers. What could not be asked or parsed is counted, never dropped or
guessed.

Questions about one file are adjacent, so that it is decoded and encoded once. Several ranks share the questions,
keeping those about one file on one rank, and then gather the answers.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

from vlframe.config.asking import GENERATE
from vlframe.contracts.batch import Batch, Quarantined
from vlframe.contracts.sample import Sample
from vlframe.data.collate import Collate
from vlframe.data.loader import data_loader
from vlframe.distributed.ranks import of_all_ranks, place
from vlframe.errors import DataError
from vlframe.evaluation.controls import BLIND, NO_SOUND, ORDERS, ROTATED, SOUND, in_order, touches
from vlframe.evaluation.likelihood import (
    Candidate,
    CandidateRows,
    CollateCandidates,
    answered,
    candidates_of,
    chosen,
)
from vlframe.evaluation.sides import CollateSides, SideBySide
from vlframe.inference.pipeline import inference, pick_device
from vlframe.model.cache import MediaCache
from vlframe.runs.quarantine import QuarantineLimit, QuarantineLog
from vlframe.runs.sampled import SamplerNotes

if TYPE_CHECKING:
    from torch.utils.data import DataLoader

    from vlframe.contracts.benchmark import Metric, Value
    from vlframe.evaluation.questions import Question, Questions

    Ways = Mapping[str, Question]  # by id

PLAIN = ""  # the way in which a question is asked without any control
CACHED_MEDIA = 64  # media whose tokens are kept; questions are ordered by medium, so few are needed


@dataclass(frozen=True)
class Reply:
    """A model's reply; for a choice by likelihood, also the candidates."""

    text: str
    candidates: tuple[Candidate, ...] = ()


Replies = dict[str, Reply]  # by the question's id


@dataclass(frozen=True)
class Prediction:
    """A question, the model's reply, its parsed form (``parsed`` is None if it cannot be parsed), and its value by each
    metric. ``group`` names the files that the question is about; ``asked`` is the question as it was put to the model,
    with the benchmark's prompts.
    """

    sample: Sample
    text: str
    parsed: str | None
    scores: Mapping[str, Value]
    benchmark: str = ""
    group: str = ""
    candidates: tuple[Candidate, ...] = ()
    controls: Mapping[str, Prediction] = field(default_factory=dict)  # the same question with something taken away
    asked: Sample | None = None  # None: ``sample`` itself

    @property
    def turns_asked(self) -> list[dict[str, str]]:
        """Return the turns that the model answered, in the notation of manifests: media tags stand where media do."""
        return [asdict(turn) for turn in (self.asked or self.sample).turns]

    def row(self) -> dict[str, Any]:
        sample = self.sample
        return {
            "benchmark": self.benchmark,
            "id": sample.id,
            "group": self.group,
            "category": sample.category,
            "question": "\n".join(turn.text for turn in sample.turns if turn.role == "user"),
            "asked": self.turns_asked,
            "options": list(sample.options),
            "answers": list(sample.answers),
            "text": self.text,
            "parsed": self.parsed,
            "scores": self._values(),
            "candidates": [asdict(candidate) for candidate in self.candidates],
            "media": [str(item.path) for item in sample.media],
            "controls": {name: item._as_control_of(self) for name, item in self.controls.items()},
        }

    def _as_control_of(self, plain: Prediction) -> dict[str, Any]:
        """Return the answer as a control, with the turns asked if they are others (``rotated_options``)."""
        asked = {} if self.turns_asked == plain.turns_asked else {"asked": self.turns_asked}
        return {"text": self.text, "parsed": self.parsed, "scores": self._values(), **asked}

    def _values(self) -> dict[str, Any]:
        return {name: list(value) if isinstance(value, tuple) else value for name, value in self.scores.items()}


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
    questions: Questions,
    quarantine: QuarantineLog,
    *,
    batch_size: int,
    withhold: Sequence[str] | None = None,
    controls: Sequence[str] = (),
) -> Outcome:
    """Ask a model every question of a benchmark, in batches; under ``controls`` once more, from the same decoded media.
    All ranks call this, and get the whole outcome.
    """
    started = time.perf_counter()
    every = questions.all
    rank, world = place()
    mine = [every[at] for at in shares([question.sample for question in every], world)[rank]]
    replies: dict[str, Replies] = {PLAIN: {}}
    quarantined: list[Quarantined] = []
    mine_notes, notes = SamplerNotes(), []
    limit = questions.pipeline.config.media.max_bad_share
    # Questions are ordered by path, not shuffled, so the limit counts against all of them.
    mine_bad, bad = (QuarantineLimit(limit, len(every)) for _ in range(2))
    beside_them = 0.0  # seconds of the controls
    for batch, answers, seconds in _answers(questions, mine, batch_size, withhold, controls):
        beside_them += seconds
        quarantined += batch.quarantined
        mine_notes.add(batch)
        _gather(replies, answers)
        met = len(answers[PLAIN]) + len(batch.quarantined)
        if mine_bad.add(met, len(batch.quarantined)):  # too many even for all ranks together; they learn of it below
            break
    mine_all = (replies, quarantined, (mine_bad.met, mine_bad.bad), mine_notes)
    for theirs, lost, counts, noted in of_all_ranks(mine_all):
        _gather(replies, theirs)
        notes.append(noted)
        quarantine.add(lost)
        bad.add(*counts)
    bad.check(quarantine)
    if not replies[PLAIN]:
        raise DataError(
            f"none of the {len(every)} questions of the benchmark could be asked ({quarantine}). {quarantine.summary()}"
            if every
            else "the benchmark has no question"
        )
    predictions = [_judged(item, replies, questions) for item in every if item.sample.id in replies[PLAIN]]
    asked = Counter(question.sample.category for question in every)
    metrics, together = questions.judge.metrics, SamplerNotes.together(notes)
    return Outcome(predictions, asked, time.perf_counter() - started - beside_them, metrics, together)


def beside(seeing: Outcome, blind: Outcome) -> Outcome:
    """Put the answers without media beside those with them, as another control of the questions that have media."""
    found = {item.sample.id: item for item in blind.predictions}
    predictions = [
        replace(item, controls={BLIND: found[item.sample.id], **item.controls})
        if item.sample.id in found and touches(BLIND, item.sample)
        else item
        for item in seeing.predictions
    ]
    return replace(seeing, predictions=predictions)


def _gather(replies: dict[str, Replies], more: Mapping[str, Replies]) -> None:
    for way, found in more.items():
        replies.setdefault(way, {}).update(found)


def _judged(question: Question, replies: Mapping[str, Replies], questions: Questions) -> Prediction:
    """Judge a reply, and those under controls by their own options."""
    name = question.sample.id
    controls = {
        way: _read(questions.rotated[name] if way == ROTATED else question, found[name], questions)
        for way, found in replies.items()
        if way != PLAIN and name in found
    }
    return replace(_read(question, replies[PLAIN][name], questions), controls=controls)


def shares(samples: Sequence[Sample], world: int) -> list[list[int]]:
    """Return the positions of the samples that each rank asks. Neighbours with the same media stay together; each group
    goes to the rank with the fewest questions so far.
    """
    result: list[list[int]] = [[] for _ in range(world)]
    for _, group in groupby(range(len(samples)), key=lambda at: samples[at].media or at):
        min(result, key=len).extend(group)
    return result


def _answers(
    questions: Questions,
    mine: Sequence[Question],
    batch_size: int,
    withhold: Sequence[str] | None,
    controls: Sequence[str],
) -> Iterator[tuple[Batch, dict[str, Replies], float]]:
    """Yield each batch with the replies to its questions, by id, plain and under each control that touches them, and
    the seconds that the controls took.
    """
    pipeline = questions.pipeline
    device = pick_device(pipeline)
    pipeline.model.to(device).eval()
    orders = [control for control in controls if control in ORDERS]
    cache = MediaCache(CACHED_MEDIA * (1 + len(orders)), shared=batch_size if orders else 0)
    ways = _ways(questions, mine, controls)
    reply = _written if questions.asking.choice == GENERATE else _chosen
    clips = {name for name, sample in _by_id(mine) if touches("reversed", sample)}
    with inference(pipeline, device):
        for batches in _loader(questions, mine, ways, batch_size, withhold):
            batch = batches[PLAIN].to(device)
            answers: dict[str, Replies] = {PLAIN: reply(questions, batch, cache, ways[PLAIN]) if len(batch) else {}}
            plain_at = time.perf_counter()
            for control in orders if len(batch) else ():
                seen = in_order(batch, control)
                found = reply(questions, seen, cache, ways[PLAIN]) if seen is not None else {}
                answers[control] = {name: item for name, item in found.items() if name in clips}
            for way, other in batches.items():
                if way != PLAIN and len(other):
                    answers[way] = reply(questions, other, cache, ways[way])
            yield batch, answers, time.perf_counter() - plain_at


def _by_id(mine: Sequence[Question]) -> list[tuple[str, Sample]]:
    return [(question.sample.id, question.sample) for question in mine]


def _ways(questions: Questions, mine: Sequence[Question], controls: Sequence[str]) -> dict[str, Ways]:
    """Return the questions as they are asked, and as those controls ask that change their text, by id."""
    ways: dict[str, Ways] = {PLAIN: {question.sample.id: question for question in mine}}
    if NO_SOUND in controls:
        ways[NO_SOUND] = {name: item for name, item in ways[PLAIN].items() if touches(NO_SOUND, item.sample)}
    if ROTATED in controls:
        ways[ROTATED] = {name: questions.rotated[name] for name in ways[PLAIN] if name in questions.rotated}
    return {way: asked for way, asked in ways.items() if asked or way == PLAIN}


def _loader(
    questions: Questions,
    mine: Sequence[Question],
    ways: Mapping[str, Ways],
    batch_size: int,
    withhold: Sequence[str] | None,
) -> DataLoader:
    """Return batches for each way to ask, of the same questions, so that their media are decoded once. Where candidates
    are compared, they are of whole questions and of about ``batch_size`` rows.
    """
    most = max((len(question.candidates) for question in mine), default=1) or 1
    hidden = {NO_SOUND: [*(withhold or questions.pipeline.config.media.withhold), *SOUND]}
    rows = {way: _rows(questions, list(asked.values()), hidden.get(way, withhold)) for way, asked in ways.items()}
    generated = questions.asking.choice == GENERATE
    return data_loader(
        SideBySide([question.sample.id for question in mine], {way: (rows[way], list(ways[way])) for way in ways}),
        questions.pipeline.config.loader,
        batch_size=batch_size if generated else max(batch_size // most, 1),
        collate_fn=CollateSides(Collate(left=True) if generated else CollateCandidates()),
    )


def _rows(questions: Questions, asked: Sequence[Question], withhold: Sequence[str] | None) -> Any:
    pipeline = questions.pipeline
    if questions.asking.choice == GENERATE:
        return pipeline.prepared([question.asked for question in asked], answers=False, withhold=withhold)
    prepared = pipeline.prepared(answered(asked), answers=True, training=False, withhold=withhold)
    return CandidateRows(prepared, asked)


def _written(questions: Questions, batch: Batch, cache: MediaCache, ways: Ways) -> Replies:
    pipeline = questions.pipeline
    model = pipeline.model
    ending = pipeline.ending
    sampling = ending.settings({"max_new_tokens": questions.benchmark.max_new_tokens})
    ids_BG = model.generate(batch.to(model.device), cache, **sampling)
    texts = model.llm.tokenizer.batch_decode(ids_BG, skip_special_tokens=True)
    return {name: Reply(ending.cut(text)) for name, text in zip(batch.samples, texts, strict=True)}


def _chosen(questions: Questions, batch: Batch, cache: MediaCache, ways: Ways) -> Replies:
    rows = [text for name in dict.fromkeys(batch.samples) for text in ways[name].candidates]
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
        asked=question.asked,
    )
