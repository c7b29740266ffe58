"""Sample -> row: files decoded, text tokenised, placeholders counted. Runs in data workers.

A sample that cannot be used becomes a ``Skipped`` with its reason, where the config allows that; nothing else is ever
put in its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from vlframe.data import chat, text
from vlframe.data.batch import UNLABELLED, MediaInput, Skipped
from vlframe.data.sample import TAGS, Media, Sample
from vlframe.errors import ConfigError, DataError, MediaError, NoAudioTrack

if TYPE_CHECKING:
    from vlframe.config import MediaConfig, TextConfig
    from vlframe.media.loader import MediaLoader
    from vlframe.model.compose import Plan


@dataclass(frozen=True)
class Row:
    """A sample ready to be padded: ids with placeholders, labels, and the media they wait for."""

    id: str
    ids: list[int]
    labels: list[int]
    media: tuple[MediaInput, ...]


class Prepare:
    """A map-style dataset of rows. ``answers=False`` stops at the question, for generation."""

    def __init__(
        self,
        samples: Sequence[Sample],
        *,
        plan: Plan,
        loader: MediaLoader,
        tokenizer: Any,
        media: MediaConfig,
        text: TextConfig,
        answers: bool = True,
    ) -> None:
        self.samples = samples
        self.plan = plan
        self.loader = loader
        self.tokenizer = tokenizer
        self.media = media
        self.text = text
        self.answers = answers

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Row | Skipped:
        sample = withhold(self.samples[index], self.media.withhold)
        self._check_senses(sample)
        try:
            loaded = tuple(self._load(item) for item in sample.media)
        except NoAudioTrack as error:
            if self.media.missing_audio != "drop":
                raise _naming(sample, error) from error
            return Skipped(sample.id, "missing_audio", str(error))
        except MediaError as error:
            if self.media.on_error != "skip":
                raise _naming(sample, error) from error
            return Skipped(sample.id, "media", str(error))
        return self._row(sample, loaded)

    def _row(self, sample: Sample, media: tuple[MediaInput, ...]) -> Row | Skipped:
        encode = chat.encode if self.answers else chat.encode_prompt
        encoded = text.expand(encode(sample, self.tokenizer), [item.tokens for item in media])
        fitted = text.fit(encoded, self.plan.context, self.text.too_long, sample.id)
        if fitted is None:
            reason = f"{len(encoded.ids)} tokens do not fit a context of {self.plan.context}"
            return Skipped(sample.id, "too_long", reason)
        labels = [token if taught else UNLABELLED for token, taught in zip(fitted.ids, fitted.supervised, strict=True)]
        return Row(sample.id, fitted.ids, labels, media)

    def _load(self, item: Media) -> MediaInput:
        loaded = self.loader.load(item)
        return MediaInput(item.kind, loaded.tensor, loaded.key, self.plan.tokens(item.kind, len(loaded.tensor)))

    def _check_senses(self, sample: Sample) -> None:
        if self.plan.audio is None and any(item.kind == "audio" for item in sample.media):
            raise ConfigError(
                f"sample {sample.id!r} has sound, and the composition has no audio_encoder; choose one "
                f"(audio_encoder=…) or leave the sound out (media.withhold=[audio])"
            )


def withhold(sample: Sample, kinds: Sequence[str]) -> Sample:
    """The sample as somebody blind or deaf gets it: without the media of these kinds and without their tags."""
    if not kinds or not any(item.kind in kinds for item in sample.media):
        return sample
    turns = []
    for turn in sample.turns:
        text = turn.text
        for kind in kinds:
            text = text.replace(TAGS[kind] + "\n", "").replace(TAGS[kind], "")
        turns.append(replace(turn, text=text))
    return replace(sample, turns=tuple(turns), media=tuple(item for item in sample.media if item.kind not in kinds))


def _naming(sample: Sample, error: MediaError) -> DataError:
    return DataError(f"sample {sample.id!r}: {error}")
