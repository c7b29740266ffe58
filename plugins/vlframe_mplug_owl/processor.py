"""The official texts as a ``Processor``; frames come from the sampler and the front end.

A conversation is one text: a first line, then ``Human: `` and ``AI: `` at the beginning of lines, and each medium on a
``Human: `` line of its own. Source: mplug_owl_video/processing_mplug_owl.py (questions), pipeline/data_utils/
xgpt3_dataset.py (labels).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vlframe import (
    MEDIUM,
    PLACEHOLDERS,
    DataError,
    TokenizedSample,
    asked_turns,
    check_media,
    split_tags,
    transformers4_tokenizer,
)
from vlframe_mplug_owl.settings import ProcessorParams

if TYPE_CHECKING:
    from torch import Tensor

    from vlframe import Media, MediaSource, Sample, Timeline, TokenBudget, Turn

HUMAN, ANSWER = "Human: ", "AI: "
BORDERS = re.compile(f"({re.escape(MEDIUM)}|{ANSWER}|\n{HUMAN})")  # as the official training splits a conversation


class Processor:
    """Formats conversations as the official code does, for training and for a question."""

    def __init__(self, **settings: Any) -> None:
        self.settings = ProcessorParams(**settings)

    def timeline(self, media: Media, source: MediaSource) -> Timeline | None:
        return None

    def read(self, timeline: Timeline, source: MediaSource) -> Tensor | None:
        return None

    def repeatable(self, media: Media) -> bool:
        return True

    def write(
        self,
        sample: Sample,
        timelines: Sequence[Timeline],
        tokenizer: Any,
        budget: TokenBudget | None,
        *,
        training: bool,
    ) -> TokenizedSample | None:
        """Return the sample's tokens, with one placeholder for each medium."""
        turns = list(sample.turns) if training else asked_turns(sample)
        text = written(turns, self.settings.system, opening=not training)
        ids, supervised = tokens(text, [item.kind for item in sample.media], tokenizer, training=training)
        if training and not any(supervised):
            raise DataError(f"sample {sample.id!r} has no answer to learn")
        return TokenizedSample(ids, supervised, tuple(sample.media))


def written(turns: Sequence[Turn], system: str, *, opening: bool = True) -> str:
    """Return a conversation as one text; with ``opening``, it opens an answer if a question is the last turn."""
    lines = [] if turns and turns[0].role == "system" else [system]
    for turn in turns:
        if turn.role == "system":
            lines.append(turn.text)
        elif turn.role == "user":
            lines += _questions(turn)
        else:
            lines.append(ANSWER + turn.text)
    if opening and turns and turns[-1].role == "user":
        lines.append(ANSWER)
    return "\n".join(lines)


def _questions(turn: Turn) -> list[str]:
    """Return a line for each medium, and one for each non-empty text between them."""
    texts, kinds = split_tags(turn)
    lines = []
    for number, text in enumerate(texts):
        words = text.strip("\n") if kinds else text
        if words.strip() or not kinds:
            lines.append(HUMAN + words)
        if number < len(kinds):
            lines.append(HUMAN + MEDIUM)
    return lines


def tokens(text: str, kinds: Sequence[str], tokenizer: Any, *, training: bool) -> tuple[list[int], list[bool]]:
    """Return token ids, a placeholder for each medium, and which are learnt: each answer and its end.

    Each piece between borders is tokenised separately; in a question only media are borders.
    """
    check_media(text, kinds)
    fast, media = transformers4_tokenizer(tokenizer), iter(kinds)
    ids = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    learnt = [False] * len(ids)
    pieces = BORDERS.split(text) if training else re.split(f"({re.escape(MEDIUM)})", text)
    for number, piece in enumerate(pieces):
        answer = training and number > 0 and pieces[number - 1] == ANSWER
        if piece == MEDIUM:
            found = [PLACEHOLDERS[next(media)]]
        else:
            found = list(fast.encode(piece, add_special_tokens=False).ids) if piece else []
            found += [tokenizer.eos_token_id] if answer else []
        ids += found
        learnt += [answer] * len(found)
    return ids, learnt
