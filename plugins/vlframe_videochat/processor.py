"""Implements vlframe's ``Processor`` with the official texts and images; sampler and front end read the frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any
from zlib import crc32

from vlframe import DataError, TokenizedSample, asked_turns, cut_text, split_tags, squashed_image
from vlframe_videochat import text
from vlframe_videochat.settings import CAPTION, ProcessorParams, check
from vlframe_videochat.text import Piece, Said

if TYPE_CHECKING:
    from torch import Tensor

    from vlframe import Media, MediaSource, Sample, Timeline, TokenBudget, Turn


class Processor:
    """Tokenises conversations as the official code does, for training and for a question.

    Each medium is a separate message before the text of its turn. A caption is a sample of the category ``caption``, as
    in the data set of captions.
    """

    stop_strings = (text.MARK,)  # Vicuna's first version ends an answer with the mark of the next turn

    def __init__(self, **settings: Any) -> None:
        self.settings = ProcessorParams(**settings)
        check(self.settings)

    def timeline(self, media: Media, source: MediaSource) -> Timeline | None:
        return None

    def read(self, timeline: Timeline, source: MediaSource) -> Tensor | None:
        """Read an image for inference, which is squashed where clips are cropped."""
        return squashed_image(timeline, source) if self.settings.images == "squash" else None

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
        write = text.Tokeniser(tokenizer)
        kinds = [item.kind for item in sample.media]
        if training and sample.category == CAPTION:
            ids, supervised = self._caption(sample, write)
            return TokenizedSample(ids, supervised, tuple(sample.media))
        turns = list(sample.turns) if training else asked_turns(sample)
        lead = next((turn.text for turn in turns if turn.role == "system"), self.settings.system)
        talk = list(self._said(turns, timelines))
        if not training:
            ids, supervised = write.tokens([Piece(text.question(lead, talk))], kinds)
            return TokenizedSample(ids, supervised, tuple(sample.media))
        pieces = text.taught(lead, talk, names=self.settings.learn_names)
        ids, supervised = cut_text(*write.tokens(pieces, kinds), self.settings.text_tokens)
        if not any(supervised) or not any(said.role == "assistant" for said in talk):
            raise DataError(f"sample {sample.id!r} has no answer to learn in its first {self.settings.text_tokens} "
                            "tokens of text (processor.text_tokens)")  # fmt: skip
        if sum(token < 0 for token in ids) < len(kinds):
            raise DataError(f"sample {sample.id!r} has media after its first {self.settings.text_tokens} tokens of "
                            "text; raise processor.text_tokens, or shorten it")  # fmt: skip
        filled = bool(write.start) and self.settings.bos == "number"
        return TokenizedSample(ids, supervised, tuple(sample.media), first=float(ids[0]) if filled else None)

    def _caption(self, sample: Sample, write: text.Tokeniser) -> text.Tokens:
        answers = [turn.text for turn in sample.turns if turn.role == "assistant"]
        kinds = [item.kind for item in sample.media]
        if len(answers) != 1 or len(kinds) != 1 or kinds[0] not in text.CAPTION_PROMPTS:
            raise DataError(f"sample {sample.id!r} is no caption of one video or image")
        prompts = text.CAPTION_PROMPTS[kinds[0]]
        # The official code draws one for each batch; here a sample always has the same.
        prompt = prompts[crc32(sample.id.encode()) % len(prompts)]
        asked, unlearnt = write.tokens([Piece(text.caption_question(kinds[0], prompt))], kinds)
        told, learnt = write.tokens([Piece(answers[0] + text.MARK, True)], [], start=False)
        most = self.settings.caption_tokens
        return [*asked, *told[:most]], [*unlearnt, *learnt[:most]]

    def _said(self, turns: Sequence[Turn], timelines: Sequence[Timeline]) -> Iterator[Said]:
        """Yield every message except the system's: the media of a turn, then its text."""
        media = iter(timelines)
        for turn in turns:
            if turn.role == "system":
                continue
            texts, kinds = split_tags(turn)
            for kind in kinds:
                timeline = next(media)
                stamps = text.stamped(timeline.seconds) if kind == "video" and self.settings.time_stamps else ""
                yield Said(turn.role, f"{text.framed(kind)} {stamps}".rstrip(), shown=True)
            words = "".join(texts).strip("\n") if kinds else texts[0]
            if words or not kinds:
                yield Said(turn.role, words)
