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
from vlframe.data.placeholders import PLACEHOLDERS
from vlframe.data.sample import TAGS, Media, MediaKind, Sample
from vlframe.errors import ConfigError, DataError, MediaError, NoAudioTrack

if TYPE_CHECKING:
    from vlframe.config import MediaConfig, TextConfig
    from vlframe.contracts import DataProtocol, Written
    from vlframe.media.loader import MediaLoader
    from vlframe.model.compose import Plan


@dataclass(frozen=True)
class Row:
    """A sample ready to be padded: ids with placeholders, labels, and the media they wait for.

    ``hidden`` is a token that the mask leaves out wherever it stands, for protocols that have one.
    """

    id: str
    ids: list[int]
    labels: list[int]
    media: tuple[MediaInput, ...]
    hidden: int | None = None


class Prepare:
    """A map-style dataset of rows. ``answers=False`` stops at the question, for generation.

    A ``protocol`` writes the tokens of the samples that it does not leave to vlframe.
    """

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
        protocol: DataProtocol | None = None,
    ) -> None:
        self.samples = samples
        self.plan = plan
        self.loader = loader
        self.tokenizer = tokenizer
        self.media = media
        self.text = text
        self.answers = answers
        self.protocol = protocol

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Row | Skipped:
        sample = withhold(self.samples[index], self.media.withhold)
        self._check_senses(sample)
        try:
            written = self._written(sample)
            wanted = sample.media if written is None else written.media
            loaded = tuple(self._load(item) for item in wanted)
        except NoAudioTrack as error:
            if self.media.missing_audio != "drop":
                raise _naming(sample, error) from error
            return Skipped(sample.id, "missing_audio", str(error), error.path, error.reader)
        except MediaError as error:
            if self.media.on_error != "skip":
                raise _naming(sample, error) from error
            return Skipped(sample.id, "media", str(error), error.path, error.reader)
        return self._row(sample, loaded, written)

    def _written(self, sample: Sample) -> Written | None:
        if self.protocol is None:
            return None
        return self.protocol.write(sample, self.tokenizer, training=self.answers)

    def _row(self, sample: Sample, media: tuple[MediaInput, ...], written: Written | None) -> Row | Skipped:
        encode = chat.encode if self.answers else chat.encode_prompt
        short = encode(sample, self.tokenizer) if written is None else with_slots(written)
        encoded = text.expand(short, [item.tokens for item in media])
        fitted = text.fit(encoded, self.plan.context, self.text.too_long, sample.id)
        if fitted is None:
            reason = f"{len(encoded.ids)} tokens do not fit a context of {self.plan.context}"
            return Skipped(sample.id, "too_long", reason)
        labels = [token if taught else UNLABELLED for token, taught in zip(fitted.ids, fitted.supervised, strict=True)]
        return Row(sample.id, fitted.ids, labels, media, None if written is None else written.hidden)

    def _load(self, item: Media) -> MediaInput:
        loaded = self.loader.load(item)
        return MediaInput(item.kind, loaded.tensor, loaded.key, self.plan.tokens(item.kind, len(loaded.tensor)))

    def _check_senses(self, sample: Sample) -> None:
        if self.plan.audio is None and any(item.kind == "audio" for item in sample.media):
            raise ConfigError(
                f"sample {sample.id!r} has sound, and the composition has no audio_encoder; choose one "
                f"(audio_encoder=…) or leave the sound out (media.withhold=[audio])"
            )


def with_slots(written: Written) -> text.Encoded:
    """What a protocol wrote, in the terms of ``text``. Which of its tokens are a user's words is not known."""
    slots = [text.Slot(at, _KIND[token]) for at, token in enumerate(written.ids) if token < 0]
    return text.Encoded(written.ids, written.supervised, [False] * len(written.ids), slots)


_KIND: dict[int, MediaKind] = {token: kind for kind, token in PLACEHOLDERS.items()}


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
