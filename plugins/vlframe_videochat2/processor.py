"""The official texts and pictures, as a ``Processor`` of vlframe; frames are the sampler's and the front end's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any
from zlib import crc32

from vlframe import DataError, TokenizedSample, asked_turns, cut_text, split_tags, squashed_image
from vlframe_videochat2 import text
from vlframe_videochat2.settings import CAPTION, ProcessorParams, applies, check
from vlframe_videochat2.tokens import Tokeniser, Tokens

if TYPE_CHECKING:
    from torch import Tensor

    from vlframe import Media, MediaSource, Sample, Timeline, TokenBudget, Turn


class Processor:
    """Writes conversations as the official code does, for training and for a question.

    A system turn is the instruction that stands before a conversation, and that the connector reads. A sample of the
    category ``caption`` is a caption, as the data set of captions has them.
    """

    def __init__(self, **settings: Any) -> None:
        self.settings = ProcessorParams(**settings)
        check(self.settings)
        self.template = text.TEMPLATES[self.settings.template]
        self.stop_strings = self.template.stops

    def timeline(self, media: Media, source: MediaSource) -> Timeline | None:
        return None

    def read(self, timeline: Timeline, source: MediaSource) -> Tensor | None:
        """Read an image of a question: squashed, while clips are cropped. Tiles are left to their front end."""
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
        kinds = [item.kind for item in sample.media]
        strange = sorted(set(kinds) - set(text.CAPTION_PROMPTS))
        if strange:
            raise DataError(f"sample {sample.id!r} has {', '.join(strange)}; processor videochat2 has texts for "
                            f"{' and '.join(text.CAPTION_PROMPTS)}")  # fmt: skip
        write = Tokeniser(tokenizer)
        if training and sample.category == CAPTION:
            ids, supervised = self._caption(sample, kinds, write)
            return TokenizedSample(ids, supervised, tuple(sample.media))
        turns = list(sample.turns) if training else asked_turns(sample)
        lead = next((turn.text for turn in turns if turn.role == "system"), None)
        talk = list(self._said(turns, timelines, training=training))
        instructions = tuple(self._instruction(lead, talk, kind, training=training) for kind in kinds)
        if training:
            ids, supervised = self._taught(sample, lead or "", talk, kinds, write)
        else:
            asked = self.template.question(self.settings.system if lead is None else lead, talk)
            ids, supervised = write.tokens([text.Piece(asked)], kinds, start=write.begins)
        number = training and write.first is not None and self.settings.bos == "number"
        first = float(write.first) if number else None
        return TokenizedSample(ids, supervised, tuple(sample.media), instructions=instructions, first=first)

    def _taught(
        self, sample: Sample, lead: str, talk: Sequence[text.Said], kinds: Sequence[str], write: Tokeniser
    ) -> Tokens:
        pieces, most = self.template.taught(lead, talk), self.settings.text_tokens
        ids, supervised = cut_text(*write.tokens(pieces, kinds, start=True), most)
        if not any(supervised) or not any(said.role == "assistant" for said in talk):
            raise DataError(f"sample {sample.id!r} has no answer to learn in its first {most} tokens of text "
                            "(processor.text_tokens)")  # fmt: skip
        if sum(token < 0 for token in ids) < len(kinds):
            raise DataError(f"sample {sample.id!r} has media after its first {most} tokens of text; increase "
                            "processor.text_tokens, or shorten it")  # fmt: skip
        return ids, supervised

    def _instruction(self, lead: str | None, talk: Sequence[text.Said], kind: str, *, training: bool) -> str:
        """Return what the connector reads beside a medium. In training, nothing where a row has no instruction."""
        settings = self.settings
        own = "" if training else getattr(settings, f"instruct_{kind}")
        told = own if lead is None else lead
        question = next((said.words for said in talk if said.role == "user"), "")
        if told.strip() and applies(settings.instruct_question, training=training):
            told = f"{told} {question}"
        return told.strip()

    def _caption(self, sample: Sample, kinds: Sequence[str], write: Tokeniser) -> Tokens:
        answers = [turn.text for turn in sample.turns if turn.role == "assistant"]
        if len(answers) != 1 or len(kinds) != 1:
            raise DataError(f"sample {sample.id!r} is not a caption of one video or image")
        prompts = text.CAPTION_PROMPTS[kinds[0]]
        # Officially one is drawn for each batch; here a sample always has the same.
        prompt = prompts[crc32(sample.id.encode()) % len(prompts)]
        asked = text.Piece(self.template.caption(text.framed(kinds[0]), prompt))
        told = [text.Piece(answers[0], True), text.Piece(self.template.end, self.settings.learn_caption_end)]
        ids, supervised = write.tokens([asked], kinds, start=True)
        words, learnt = (values[: self.settings.caption_tokens] for values in write.tokens(told, [], start=False))
        return [*ids, *words], [*supervised, *learnt]

    def _said(self, turns: Sequence[Turn], timelines: Sequence[Timeline], *, training: bool) -> Iterator[text.Said]:
        """Yield every turn except the system's."""
        media, stamps = iter(timelines), applies(self.settings.time_stamps, training=training)
        for turn in turns:
            if turn.role == "system":
                continue
            texts, kinds = split_tags(turn)
            seen = [(kind, next(media)) for kind in kinds]
            shown = [text.framed(kind, item.seconds if kind == "video" and stamps else None) for kind, item in seen]
            words = "".join(texts).strip("\n") if kinds else texts[0]
            yield text.Said(turn.role, tuple(shown), words)
