"""Choice by likelihood: the model scores each candidate as the answer of the conversation.

A candidate is tokenised as in training: the same chat template, and the end of the turn belongs to the answer (so that
"red" and "red car" are compared as whole answers). Media tokens are computed once for all candidates of a question.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vlframe.contracts.batch import Batch, Quarantined
from vlframe.contracts.sample import Turn
from vlframe.data.collate import Collate
from vlframe.data.prepare import PreparedSample, PreparedSamples
from vlframe.errors import WeightsError

if TYPE_CHECKING:
    from vlframe.contracts.sample import Sample
    from vlframe.evaluation.questions import Question
    from vlframe.model.cache import MediaCache
    from vlframe.model.video_llm import VideoLLM


@dataclass(frozen=True)
class Candidate:
    """A possible answer, and the sum of its tokens' log-probabilities, including the end of the turn."""

    text: str
    log_likelihood: float
    tokens: int

    def weight(self, choice: str) -> float:
        """Return the value by which candidates are compared. ``per_token`` and ``per_character`` remove the
        advantage of short ones.
        """
        lengths = {"likelihood_per_token": self.tokens, "likelihood_per_character": len(self.text)}
        return self.log_likelihood / max(lengths.get(choice, 1), 1)


def chosen(candidates: Sequence[Candidate], choice: str) -> Candidate:
    """Return the most likely candidate; the first of equal ones."""
    return max(candidates, key=lambda candidate: candidate.weight(choice))


def answered(questions: Sequence[Question]) -> list[Sample]:
    """Return each question with each of its candidates as the reply, in order."""
    return [
        replace(question.asked, turns=(*question.asked.turns, Turn("assistant", text)))
        for question in questions
        for text in question.candidates
    ]


class CandidateRows:
    """A map-style data set of questions: for each, the prepared rows of its candidates, in which only the candidate is
    supervised; or why the question is quarantined.
    """

    def __init__(self, rows: PreparedSamples, questions: Sequence[Question]) -> None:
        self.rows = rows
        self.firsts: list[int] = []
        at = 0
        for question in questions:
            self.firsts.append(at)
            at += len(question.candidates)
        self.firsts.append(at)

    def __len__(self) -> int:
        return len(self.firsts) - 1

    def __getitem__(self, number: int) -> list[PreparedSample | Quarantined]:
        prepared: list[PreparedSample | Quarantined] = []
        for at in range(self.firsts[number], self.firsts[number + 1]):
            row = self.rows[at]
            if isinstance(row, Quarantined):
                return [row]
            prepared.append(_only_the_last_answer(row))
        return prepared


def _only_the_last_answer(row: PreparedSample) -> PreparedSample:
    """Supervise only the last answer; earlier ones belong to the question. A user's turn separates two answers."""
    end = max(at for at, supervised in enumerate(row.supervised) if supervised)
    start = end
    while start > 0 and row.supervised[start - 1]:
        start -= 1
    return replace(row, supervised=[start <= at <= end for at in range(len(row.supervised))])


@dataclass(frozen=True)
class CollateCandidates:
    """Collates whole questions into one batch, row after row."""

    def __call__(self, items: Sequence[Sequence[PreparedSample | Quarantined]]) -> Batch:
        return Collate()([row for item in items for row in item])


def candidates_of(
    model: VideoLLM, batch: Batch, cache: MediaCache, texts: Sequence[str]
) -> Iterator[tuple[str, Candidate]]:
    """Yield the candidate of each row with its question's id. ``texts`` are those of the rows."""
    length = batch.ids_BS.shape[1]
    rows = (batch.taught_L // length).tolist()
    values = model.log_likelihood(batch.to(model.device), cache).tolist()
    sums, counts = [0.0] * len(batch), [0] * len(batch)
    for row, value in zip(rows, values, strict=True):
        sums[row] += value
        counts[row] += 1
    for name, text, total, count in zip(batch.samples, texts, sums, counts, strict=True):
        if math.isnan(total):
            raise WeightsError(
                f"the log-likelihood of {text[:40]!r} for question {name!r} is not a finite number: the weights "
                "contain NaN or infinity; take an earlier checkpoint"
            )
        yield name, Candidate(text, total, count)
