"""Questions -> answers -> scores. Nothing guessed, nothing dropped: what could not be asked or read is counted.

Questions about one file stand together, so that it is decoded and encoded once. Several ranks share the questions out,
all of one file's to one rank, and put the answers together again.
"""

from __future__ import annotations

import math
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from torch.utils.data import DataLoader

from vlframe.data.batch import Batch, Skipped
from vlframe.data.collate import Collate
from vlframe.data.loader import data_loader
from vlframe.data.sample import Sample
from vlframe.data.skips import BadShare, SkipLog, met_and_bad
from vlframe.evaluation.statistics import chance, wilson
from vlframe.model.video_llm import TokenCache
from vlframe.runs.ranks import of_all_ranks, place
from vlframe.runs.session import Session, inference, pick_device

if TYPE_CHECKING:
    from vlframe.contracts import Benchmark

CACHED_MEDIA = 64  # media whose tokens are kept; questions are ordered by medium, so few are needed


@dataclass(frozen=True)
class Prediction:
    """One question, what the model said, and how that was read. ``parsed`` is None for a text that is no answer."""

    sample: Sample
    text: str
    parsed: str | None
    correct: bool

    def row(self) -> dict[str, Any]:
        sample = self.sample
        return {
            "id": sample.id,
            "category": sample.category,
            "question": "\n".join(turn.text for turn in sample.turns if turn.role == "user"),
            "options": list(sample.options),
            "answer": sample.answer,
            "text": self.text,
            "parsed": self.parsed,
            "correct": self.correct,
            "media": [str(item.path) for item in sample.media],
        }


@dataclass(frozen=True)
class Outcome:
    """What an evaluation gave. ``asked`` counts every question of the benchmark by its category ("" for none), the
    left-out ones too."""

    predictions: list[Prediction]
    asked: Mapping[str, int]
    seconds: float

    @property
    def accuracy(self) -> float:
        return _share(self.predictions)

    @property
    def unparsed(self) -> int:
        return sum(prediction.parsed is None for prediction in self.predictions)

    def categories(self) -> dict[str, list[Prediction]]:
        """One whose questions were all left out is there as well."""
        groups = defaultdict(list)
        for prediction in self.predictions:
            groups[prediction.sample.category].append(prediction)
        return {name: groups[name] for name in sorted(self.asked) if name}


def ask(
    session: Session, benchmark: Benchmark, skips: SkipLog, *, batch_size: int, withhold: Sequence[str] | None = None
) -> Outcome:
    """Put every question of a benchmark to a model, in batches. All ranks call this, and get the whole outcome."""
    started = time.perf_counter()
    samples = sorted(benchmark.samples, key=lambda sample: [str(item.path) for item in sample.media])
    rank, world = place()
    mine = [samples[at] for at in shares(samples, world)[rank]]
    rows = session.rows(mine, answers=False, withhold=withhold)
    loader = data_loader(rows, session.config.loader, batch_size=batch_size, collate_fn=Collate(left=True))
    texts: dict[str, str] = {}
    skipped: list[Skipped] = []
    limit = session.config.media.max_bad_share
    mine_bad, bad = (BadShare(limit, len(samples)) for _ in range(2))  # in the order of their paths, not at random
    for batch, answers in _answers(session, loader, benchmark.max_new_tokens):
        skipped += batch.skipped
        texts |= zip(batch.samples, answers, strict=True)
        if mine_bad.add(*met_and_bad(batch)):  # too many for all ranks together, which hear of it below
            break
    for theirs, left_out, counts in of_all_ranks((texts, skipped, (mine_bad.met, mine_bad.bad))):
        texts |= theirs
        skips.add(left_out)
        bad.add(*counts)
    bad.check(skips)
    predictions = [_read(sample, texts[sample.id], benchmark) for sample in samples if sample.id in texts]
    return Outcome(predictions, Counter(sample.category for sample in samples), time.perf_counter() - started)


def shares(samples: Sequence[Sample], world: int) -> list[list[int]]:
    """Which samples each rank asks, by position. Neighbours with the same media stay together; each group goes to the
    rank that has the fewest questions by then."""
    result: list[list[int]] = [[] for _ in range(world)]
    for _, group in groupby(range(len(samples)), key=lambda at: samples[at].media or at):
        min(result, key=len).extend(group)
    return result


def _answers(session: Session, loader: DataLoader, max_new_tokens: int) -> Iterator[tuple[Batch, list[str]]]:
    device = pick_device(session.config)
    model = session.model.to(device).eval()
    cache = TokenCache(CACHED_MEDIA)
    with inference(session.config, device):
        for batch in loader:
            answers: list[str] = []
            if len(batch):
                ids_BG = model.generate(batch.to(device), cache, max_new_tokens=max_new_tokens)
                answers = model.llm.tokenizer.batch_decode(ids_BG, skip_special_tokens=True)
            yield batch, answers


def _read(sample: Sample, text: str, benchmark: Benchmark) -> Prediction:
    parsed = benchmark.parse(text, sample)
    return Prediction(sample, text, parsed, parsed is not None and benchmark.correct(parsed, sample))


def _share(predictions: Sequence[Prediction]) -> float:
    return sum(item.correct for item in predictions) / len(predictions) if predictions else float("nan")


def metrics(seeing: Outcome, blind: Outcome | None, left_out: Mapping[str, int]) -> dict[str, float | int]:
    """The flat ``metrics.json``."""
    interval = wilson(sum(item.correct for item in seeing.predictions), len(seeing.predictions))
    result: dict[str, float | int] = {
        "accuracy": seeing.accuracy,
        "accuracy_low": interval.low,
        "accuracy_high": interval.high,
        "n": len(seeing.predictions),
        "n_asked": sum(seeing.asked.values()),
        "unparsed": seeing.unparsed,
        "samples_per_second": len(seeing.predictions) / seeing.seconds,
    }
    result |= {f"left_out/{why}": count for why, count in left_out.items()}
    for name, predictions in seeing.categories().items():
        result[f"accuracy/{name}"] = _share(predictions)
        result[f"n/{name}"] = len(predictions)
        result[f"n_asked/{name}"] = seeing.asked[name]
        result[f"unparsed/{name}"] = sum(item.parsed is None for item in predictions)
        result[f"chance/{name}"] = chance(len(item.sample.options) for item in predictions)
    result["chance"] = chance(len(item.sample.options) for item in seeing.predictions)
    if blind is not None:
        result["blind_accuracy"] = blind.accuracy
        result["blind_n"] = len(blind.predictions)
        result["blind_unparsed"] = blind.unparsed
        result |= {f"blind_accuracy/{name}": _share(items) for name, items in blind.categories().items()}
    return {key: value for key, value in result.items() if not math.isnan(value)}
