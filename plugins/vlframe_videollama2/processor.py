"""The official VideoLLaMA 2 data path as a ``Processor``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vlframe import PLACEHOLDERS, TAGS, DataError, MediaError, Timeline, TokenizedSample, Turn
from vlframe_videollama2 import sound, text, video
from vlframe_videollama2.settings import OfficialProcessorParams, check

if TYPE_CHECKING:
    from torch import Tensor

    from vlframe import Media, MediaSource, Sample, TokenBudget

ORDER = ("image", "video", "audio")  # the official data set looks for them in this order


class OfficialProcessor:
    """Reads conversations and files like the official code. A sample has one medium, or a video with its sound."""

    def __init__(self, **settings: Any) -> None:
        self.settings = OfficialProcessorParams(**settings)
        check(self.settings)

    def timeline(self, media: Media, source: MediaSource) -> Timeline | None:
        """Return the official frames of a clip. For picture folders, GIFs and sound they are known only on reading."""
        if media.kind == "image" or (media.kind == "audio" and self.settings.sound != "official"):
            return None
        if media.kind == "audio":
            return Timeline(media)
        return video.timeline(media, source, self.settings) if self.settings.frames == "official" else None

    def write(
        self,
        sample: Sample,
        timelines: Sequence[Timeline],
        tokenizer: Any,
        budget: TokenBudget | None,
        *,
        training: bool,
    ) -> TokenizedSample | None:
        """Return the sample's tokens; one placeholder for its medium, two for a video with its sound."""
        if self.settings.text != "official":
            return None
        media = self._media(sample)
        tag = TAGS[media[0].kind] if media else None
        turns = _without_tracks(sample.turns, media)
        if training:
            ids, supervised = self._taught(turns, tokenizer, tag, sample.id)
        else:
            ids = self._asked(turns, tokenizer, tag, sample.id)
            supervised = [False] * len(ids)
        _check_places(ids, media, sample.id)
        if training:
            ids, supervised = ids[: self.settings.model_max_length], supervised[: self.settings.model_max_length]
        ids, supervised, media = _placed(ids, supervised, media)
        hidden = tokenizer.unk_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        return TokenizedSample(ids, supervised, media, hidden if self.settings.hide_padding_token else None)

    def read(self, timeline: Timeline, source: MediaSource) -> Tensor | None:
        """Return the frames or the sound of a file."""
        media = timeline.media
        if media.kind == "audio":
            return sound.sound(media, source, self.settings) if self.settings.sound == "official" else None
        if self.settings.frames != "official":
            return None
        if media.kind == "image":
            return video.image(media, source, self.settings)
        return video.video(timeline, source, self.settings)

    def repeatable(self, media: Media) -> bool:
        """Return whether reading gives the same each time; by default sound is cropped at random."""
        return media.kind != "audio" or self.settings.sound != "official" or self.settings.crop != "random"

    def _taught(self, turns: Sequence[Turn], tokenizer: Any, tag: str | None, name: str) -> text.Tokens:
        settings = self.settings
        if settings.tags == "head":
            turns = text.tags_at_head(turns, tag)
        if settings.pretraining:
            return text.caption(turns, tokenizer, tag, name, template=settings.branch == "audio_visual")
        return text.chat(turns, tokenizer, tag, name)

    def _asked(self, turns: Sequence[Turn], tokenizer: Any, tag: str | None, name: str) -> list[int]:
        settings = self.settings
        mistral = "[INST]" in (tokenizer.chat_template or "")
        system = settings.system_prompt == "always" or (settings.system_prompt == "auto" and mistral)
        return text.question(turns, tokenizer, tag, name, keep=settings.tags == "keep", system=system)

    def _media(self, sample: Sample) -> tuple[Media, ...]:
        """Return the sample's one medium, or its video and that video's track."""
        media = sorted(sample.media, key=lambda item: ORDER.index(item.kind))
        if self.settings.branch == "main" and any(item.kind == "audio" for item in media):
            raise DataError(
                f"sample {sample.id!r} has sound, which the main branch does not know; use "
                "processor.branch=audio_visual, or leave the sound out (media.withhold=[audio])"
            )
        pair = len(media) == 2 and media[0].kind == "video" and media[1].track and media[0].path == media[1].path
        if len(media) > 1 and not pair:
            raise MediaError(
                f"it has the media {', '.join(item.kind for item in sample.media)}, and the official code opens one "
                "file for a sample (or a video and its own track); processor.text=vlframe takes any number"
            )
        return tuple(media)


def _without_tracks(turns: Sequence[Turn], media: Sequence[Media]) -> list[Turn]:
    """Remove the tags of videos' tracks, which have none in the official texts."""
    if len(media) < 2:
        return list(turns)
    return [replace(turn, text=turn.text.replace(TAGS["audio"], "")) for turn in turns]


def _check_places(ids: Sequence[int], media: Sequence[Media], name: str) -> None:
    """Refuse rows with more or fewer placeholders than media: the official code assigns features to all placeholders
    of a batch in turn, so such a row shifts the features of all rows after it."""
    places = sum(token < 0 for token in ids)
    if places != min(len(media), 1):
        raise DataError(
            f"sample {name!r} has {'a medium' if media else 'no medium'} and {places} places for it in its texts; "
            "the official code takes one medium for a sample, with a tag in one of its turns"
        )


def _placed(
    ids: list[int], supervised: list[bool], media: tuple[Media, ...]
) -> tuple[list[int], list[bool], tuple[Media, ...]]:
    """Insert a placeholder for the track after its video's; drop media whose placeholder was truncated away."""
    here = next((at for at, token in enumerate(ids) if token < 0), None)
    if here is None:
        return ids, supervised, ()
    places = [PLACEHOLDERS[item.kind] for item in media]
    return (
        [*ids[:here], *places, *ids[here + 1 :]],
        [*supervised[:here], *[False] * len(places), *supervised[here + 1 :]],
        media,
    )
