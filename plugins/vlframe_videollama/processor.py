"""The official texts and sound as a ``Processor``; frames come from the sampler and the front end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple
from zlib import crc32

from vlframe import DataError, NoAudioTrack, TokenizedSample, asked_turns, split_tags
from vlframe_videollama import text
from vlframe_videollama.settings import CAPTION, ProcessorParams, check
from vlframe_videollama.sound import first_channel, resampled

if TYPE_CHECKING:
    from torch import Tensor

    from vlframe import Media, MediaSource, Sample, Timeline, TokenBudget, Turn


class Written(NamedTuple):
    """A message, and the media of its marks: indices into the sample's ``media``."""

    role: str
    text: str
    media: tuple[int, ...] = ()


class Processor:
    """Formats conversations as the official code does, for training and for a question.

    A clip and its sound in one turn share a text, which names the sound first. A caption is a sample of the category
    ``caption``, as the caption data sets give them.
    """

    def __init__(self, **settings: Any) -> None:
        self.settings = ProcessorParams(**settings)
        check(self.settings)
        # Vicuna's first version ends an answer with the marker of the next turn, and has no end token of its own.
        self.stop_strings = [text.MARK] if self.settings.template == "vicuna" else []

    def timeline(self, media: Media, source: MediaSource) -> Timeline | None:
        return None

    def read(self, timeline: Timeline, source: MediaSource) -> Tensor | None:
        """Read sound: its first channel. A video without a track is left to ``media.missing_audio``."""
        if timeline.media.kind != "audio" or self.settings.sound != "official":
            return None
        try:
            wave_L, rate = first_channel(timeline.media)
        except NoAudioTrack:
            if timeline.media.track and source.config.missing_audio == "silence":
                return None
            raise
        return source.front_end.features(resampled(wave_L, rate, source.front_end.sampling_rate))

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
        pieces = text.Pieces(tokenizer)
        if training and sample.category == CAPTION:
            ids, supervised = self._caption(sample, pieces)
            return TokenizedSample(ids, supervised, tuple(sample.media))
        turns = list(sample.turns) if training else asked_turns(sample)
        write = self._taught if training else self._asked
        messages = [item for turn, media in _turns(turns) for item in write(turn, media, timelines)]
        order = [place for item in messages for place in item.media]
        kinds = [sample.media[place].kind for place in order]
        talk = [(item.role, item.text) for item in messages]
        lead = next((turn.text for turn in turns if turn.role == "system"), None)
        if training:
            ids, supervised = self._learnt(lead, talk, kinds, pieces, sample.id)
        else:
            ids = pieces.ids(self._question(lead, talk), kinds)
            supervised = [False] * len(ids)
        return TokenizedSample(ids, supervised, tuple(sample.media[place] for place in order))

    def _learnt(
        self, lead: str | None, talk: text.Talk, kinds: Sequence[str], pieces: text.Pieces, name: str
    ) -> text.Tokens:
        if self.settings.template == "vicuna":
            ids, supervised = text.taught_vicuna(lead or "", talk, kinds, pieces, self.settings.learnt_of_questions)
        else:
            ids, supervised = text.taught_llama_2(" " if lead is None else lead, talk, kinds, pieces, name)
        if not any(supervised) or not any(role == "assistant" for role, _ in talk):
            raise DataError(f"sample {name!r} has no answer to learn")
        return ids, supervised

    def _question(self, lead: str | None, talk: text.Talk) -> str:
        system = self.settings.system if lead is None else lead
        if self.settings.template == "llama_2":
            return text.llama_2(system, talk)
        return text.vicuna_question(system, talk, line_breaks=self.settings.line_breaks)

    def _caption(self, sample: Sample, pieces: text.Pieces) -> text.Tokens:
        answers = [turn.text for turn in sample.turns if turn.role == "assistant"]
        if len(answers) != 1 or len(sample.media) != 1 or sample.media[0].kind not in text.FRAMED:
            raise DataError(f"sample {sample.id!r} is no caption of one video or image")
        settings, prompts = self.settings, text.CAPTION_PROMPTS
        # The official code draws one for each batch; here a sample always has the same.
        prompt = prompts[crc32(sample.id.encode()) % len(prompts)] if settings.captions == "prompted" else None
        return text.caption(
            sample.media[0].kind, prompt, answers[0], settings.caption_tokens, settings.template, pieces
        )

    def _asked(self, turn: Turn, media: Sequence[int], timelines: Sequence[Timeline]) -> list[Written]:
        """Format a question: a message per medium, the last with the text; one for a clip and its sound together."""
        texts, kinds = split_tags(turn)
        words = "".join(texts).strip("\n") if kinds else texts[0]
        if sorted(kinds) == ["audio", "video"]:
            order = tuple(sorted(media, key=lambda place: kinds[media.index(place)]))
            return [Written(turn.role, f"{text.HEARD_AND_SEEN} {words}", order)]
        shown = [
            Written(turn.role, self._shown(kind, timelines[place]), (place,))
            for kind, place in zip(kinds, media, strict=True)
        ]
        if not shown:
            return [Written(turn.role, words)]
        return [*shown[:-1], shown[-1]._replace(text=f"{shown[-1].text} {words}")]

    def _taught(self, turn: Turn, media: Sequence[int], timelines: Sequence[Timeline]) -> list[Written]:
        """Format a turn for training: images in their tags' places, a clip before the text, its seconds between."""
        texts, kinds = split_tags(turn)
        if set(kinds) <= {"image"}:
            return [Written(turn.role, text.FRAMED["image"].join(texts), tuple(media))]
        if kinds != ["video"]:
            return self._asked(turn, media, timelines)
        words = "".join(texts).removeprefix("\n")
        return [Written(turn.role, self._shown("video", timelines[media[0]]) + words, tuple(media))]

    def _shown(self, kind: str, timeline: Timeline) -> str:
        if kind == "audio":
            return text.HEARD
        stamps = text.stamped(timeline.seconds) if kind == "video" and self.settings.time_stamps else ""
        return f"{text.FRAMED[kind]} {stamps}"


def _turns(turns: Sequence[Turn]) -> Iterator[tuple[Turn, list[int]]]:
    """Yield every turn except the system's, with the indices of its media in the sample."""
    at = 0
    for turn in turns:
        media = list(range(at, at + len(split_tags(turn)[1])))
        at += len(media)
        if turn.role != "system":
            yield turn, media
