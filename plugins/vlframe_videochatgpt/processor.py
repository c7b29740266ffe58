"""The official texts as a ``Processor``; frames come from the sampler and the front end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vlframe import ConfigError, TokenizedSample, asked_turns, split_tags
from vlframe_videochatgpt import text
from vlframe_videochatgpt.settings import ADDED_TOKENS, ProcessorParams, check

if TYPE_CHECKING:
    from torch import Tensor

    from vlframe import Media, MediaSource, Sample, Timeline, TokenBudget, Turn


class Processor:
    """Formats conversations as the official code does, for training and for a question.

    A medium is placed between ``<vid_start>`` and ``<vid_end>``. A system turn replaces the official one.
    """

    def __init__(self, **settings: Any) -> None:
        self.settings = ProcessorParams(**settings)
        check(self.settings)

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
        _check_tokens(tokenizer)
        settings = self.settings
        conversation = text.CONVERSATIONS[settings.training_prompt if training else settings.inference_prompt]
        kinds = [item.kind for item in sample.media]
        lead = [turn.text for turn in sample.turns[:1] if turn.role == "system"]
        turns = sample.turns if training else asked_turns(sample)
        talk = [(turn.role, _marked(turn, end=not training and settings.tags == "end")) for turn in turns]
        talk = [turn for turn in talk if turn[0] != "system"]
        pieces = text.Pieces(tokenizer, kinds, settings.strip_beside_tokens)
        system = lead[0] if lead else conversation.system
        if training:
            ids, supervised = text.taught(conversation, system, talk, pieces, sample.id)
        else:
            ids = pieces.ids(conversation.written(system, talk), start=True)
            supervised = [False] * len(ids)
        return TokenizedSample(ids, supervised, tuple(sample.media))


def _marked(turn: Turn, *, end: bool) -> str:
    """Return the text of a turn with a mark for each medium: in its tag's place, or all on a new line at the end."""
    texts, kinds = split_tags(turn)
    if not kinds or not end:
        return text.MEDIUM.join(texts)
    words = "".join(texts).strip("\n")
    return f"{words}\n{text.MEDIUM * len(kinds)}"


def _check_tokens(tokenizer: Any) -> None:
    absent = [
        token for token in ADDED_TOKENS if tokenizer.convert_tokens_to_ids(token) in (None, tokenizer.unk_token_id)
    ]
    if absent:
        raise ConfigError(
            f"processor videochatgpt writes {', '.join(absent)} around a medium, and the tokenizer has no such token; "
            f"set llm.added_tokens='[{','.join(ADDED_TOKENS)}]', or leave the processor out"
        )
