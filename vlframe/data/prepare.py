"""Prepares samples: timelines, tokens, decoded media. Runs in data workers.

An unusable sample becomes a ``Quarantined`` with its reason, if the config allows that; it is never replaced by
another. Samples that do not fit the context are found before decoding, if the sizes of all media are known by then.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from vlframe.contracts.batch import MediaFile, Quarantined
from vlframe.contracts.modalities import PLACEHOLDERS, TAGS, modality_of
from vlframe.contracts.sample import media_tags, said_of, without_tags, written
from vlframe.data import chat
from vlframe.data.order import Draw
from vlframe.data.text import Encoded, Slot, expand, fit
from vlframe.errors import ConfigError, DataError, MediaError, NoAudioTrack, PluginError, UserError

if TYPE_CHECKING:
    from vlframe.config.schema import MediaConfig, TextConfig
    from vlframe.contracts.objective import Objective
    from vlframe.contracts.processor import Processor, TokenizedSample
    from vlframe.contracts.sample import Media, Sample
    from vlframe.contracts.timeline import Timeline
    from vlframe.contracts.token_budget import TokenBudget
    from vlframe.media.loader import MediaLoader


@dataclass(frozen=True)
class PreparedMedia:
    """A decoded medium, its number of tokens, its connector's instruction, and its timeline."""

    file: MediaFile
    tokens: int
    instruction: tuple[int, ...] = ()
    timeline: Timeline | None = None


@dataclass(frozen=True)
class PreparedSample:
    """A sample ready to be padded: ids with placeholders, which of them are supervised, and the media.

    ``hidden`` is a token that the mask leaves out wherever it occurs, ``first`` a number that replaces the first
    embedding, for processors that have one. ``part`` is the number of its part of a mixture.
    """

    id: str
    ids: list[int]
    supervised: list[bool]
    media: tuple[PreparedMedia, ...]
    hidden: int | None = None
    first: float | None = None
    part: int = 0


@dataclass(eq=False)
class PreparedSamples:
    """A map-style dataset of prepared samples. ``answers=False`` stops at the question, for generation.

    A ``processor`` tokenises the samples that it does not leave to vlframe, and before it the ``objective`` of a stage.
    ``seed`` is the run's, for samplers that are random in training.
    """

    samples: Sequence[Sample]
    _: KW_ONLY
    budget: TokenBudget
    loader: MediaLoader
    tokenizer: Any
    media: MediaConfig
    text: TextConfig
    answers: bool = True
    processor: Processor | None = None
    objective: Objective | None = None
    seed: int = 0

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, draw: Draw | int) -> PreparedSample | Quarantined:
        index, place = draw if isinstance(draw, Draw) else Draw(draw, draw)
        found = self._read(index, place)
        part = bisect_right(self._starts, index) - 1
        return replace(found, part=part) if part > 0 else found

    @cached_property
    def _starts(self) -> list[int]:
        """Return the first sample of each part of a mixture."""
        return [part.start for part in getattr(self.samples, "subsets", None) or ()]

    def _read(self, index: int, place: int) -> PreparedSample | Quarantined:
        sample = withhold(self.samples[index], self.media.withhold)
        check_modalities(sample, self.budget)
        try:
            return self._prepared(sample, place)
        except NoAudioTrack as error:
            if self.media.missing_audio != "drop":
                raise _naming(sample, error) from error
            return Quarantined(sample.id, "missing_audio", str(error), error.path, error.reader)
        except MediaError as error:
            if self.media.on_error != "skip":
                raise _naming(sample, error) from error
            return Quarantined(sample.id, "media", str(error), error.path, error.reader)

    def timelines(self, sample: Sample, place: int = 0) -> list[Timeline]:
        """Return what is known of each medium before it is decoded."""
        timelines = []
        for number, item in enumerate(sample.media):
            with naming(sample, item, ConfigError, PluginError):
                timelines.append(self.loader.timeline(item, (self.seed, place, number)))
        return timelines

    def _prepared(self, sample: Sample, place: int) -> PreparedSample | Quarantined:
        timelines = self.timelines(sample, place)
        tokenized = self._tokenized(sample, timelines)
        encoded = self._encoded(sample) if tokenized is None else with_slots(tokenized)
        if tokenized is not None and tokenized.media != sample.media:
            known = dict(zip(sample.media, timelines, strict=True))
            timelines = [known[item] for item in tokenized.media]
        apart = tokenized is not None and tokenized.apart
        counts = self._known_counts(sample, timelines)
        fitted = self._fitted(encoded, [] if apart else counts, sample)  # before anything is decoded
        if isinstance(fitted, Quarantined):
            return fitted
        given = tokenized.instructions if tokenized is not None else ()
        media = self._decoded(sample, timelines, given or instructions(sample, [item.media for item in timelines]))
        if any(timeline.shape is None for timeline in timelines) and not apart:  # the length of sound is known only now
            fitted = self._fitted(encoded, [item.tokens for item in media], sample)
            if isinstance(fitted, Quarantined):
                return fitted
        own = () if tokenized is None else (tokenized.hidden, tokenized.first)
        return PreparedSample(sample.id, fitted.ids, fitted.supervised, media, *own)

    def _encoded(self, sample: Sample) -> Encoded:
        return tokenize(sample, self.tokenizer, answers=self.answers, thinking=self.text.thinking)

    def _tokenized(self, sample: Sample, timelines: Sequence[Timeline]) -> TokenizedSample | None:
        if self.objective is not None:
            with naming_sample(sample):
                own = self.objective.write(sample, self.budget)
            if own is not None:
                return own
        if self.processor is None:
            return None
        with naming_sample(sample):
            return self.processor.write(sample, timelines, self.tokenizer, self.budget, training=self.answers)

    def _known_counts(self, sample: Sample, timelines: Sequence[Timeline]) -> list[int]:
        """Return the tokens of each medium; 1 if they are known only after decoding."""
        return [
            1 if item.shape is None else self._count(sample, item.media, item.shape, item.tiles) for item in timelines
        ]

    def _count(self, sample: Sample, media: Media, shape: tuple[int, ...], tiles: int) -> int:
        with naming(sample, media, ValueError, PluginError):
            return self.budget.tokens(media.kind, shape, tiles)

    def _fitted(self, encoded: Encoded, counts: Sequence[int], sample: Sample) -> Encoded | Quarantined:
        whole = expand(encoded, counts)
        fitted = fit(whole, self.budget.max_length, self.text.too_long, sample.id)
        if fitted is None:
            reason = f"{len(whole.ids)} tokens do not fit a context of {self.budget.max_length}"
            return Quarantined(sample.id, "too_long", reason)
        return fitted

    def _decoded(
        self, sample: Sample, timelines: Sequence[Timeline], texts: Sequence[str]
    ) -> tuple[PreparedMedia, ...]:
        return tuple(self._media(sample, timeline, told) for timeline, told in zip(timelines, texts, strict=True))

    def _media(self, sample: Sample, timeline: Timeline, instruction: str) -> PreparedMedia:
        kind = timeline.media.kind
        loaded = self.loader.decode(timeline)
        shape = tuple(loaded.tensor.shape)
        if timeline.shape is not None and shape != timeline.shape:
            raise PluginError(
                f"{timeline.media.path}: its front end promised a tensor of {timeline.shape} and gave {shape}; "
                f"layout() and prepare() of {type(self.loader.front_ends[kind]).__name__} do not agree"
            )
        tokens = self._count(sample, timeline.media, shape, loaded.tiles)
        branch = self.budget.branches[modality_of(kind).name]
        ids = () if branch.instruction is None else tuple(branch.instruction.encode(instruction))
        if branch.reads_seconds:
            loaded = with_seconds(loaded, timeline)
        return PreparedMedia(loaded, tokens, ids, timeline)


def check_modalities(sample: Sample, budget: TokenBudget) -> None:
    """Raise ConfigError for a sample with media that the model has no encoder for."""
    absent = sorted({item.kind for item in sample.media if not budget.has(item.kind)})
    if absent:
        raise ConfigError(no_encoder(sample.id, absent[0]))


def no_encoder(name: str, kind: str) -> str:
    """Return the message about a sample with media that the model has no encoder for."""
    encoder = modality_of(kind).encoder
    return (
        f"sample {name!r} has {kind}, and the model has no {encoder}; choose one ({encoder}=…) or leave it out "
        f"(media.withhold=[{kind}])"
    )


def tokenize(sample: Sample, tokenizer: Any, *, answers: bool, thinking: bool) -> Encoded:
    """Tokenise a conversation in vlframe's default way."""
    if answers:
        return chat.encode(sample, tokenizer)
    return chat.encode_prompt(sample, tokenizer, thinking=thinking)


def with_slots(tokenized: TokenizedSample) -> Encoded:
    """Convert a processor's tokens to slots. Which tokens are a user's text is unknown."""
    kinds = {token: kind for kind, token in PLACEHOLDERS.items()}
    slots = [Slot(at, kinds[token]) for at, token in enumerate(tokenized.ids) if token < 0]
    return Encoded(tokenized.ids, tokenized.supervised, [False] * len(tokenized.ids), slots)


def with_seconds(loaded: MediaFile, timeline: Timeline) -> MediaFile:
    """Add to the decoded file the seconds at which its frames are shown."""
    import torch

    frames = len(loaded.tensor) // loaded.tiles
    seconds = timeline.seconds or ((0.0,) if frames == 1 else ())  # an image has no time
    if len(seconds) != frames:
        raise PluginError(
            f"{timeline.media.path}: the connector reads when frames are shown, and of {frames} frames of the kind "
            f"{timeline.media.kind!r} {len(seconds)} have a time; their timeline lacks the others"
        )
    return replace(loaded, seconds_T=torch.tensor(seconds, dtype=torch.float32))


def instructions(sample: Sample, media: Sequence[Any]) -> list[str]:
    """Return the text, without tags, of the turn that contains each medium, in the order of ``media``."""
    texts = []
    for turn in sample.turns:
        tags = media_tags([turn])
        if tags:
            plain = written(turn, dict.fromkeys(TAGS, ""))
            texts += [" ".join(plain.split())] * len(tags)
    if len(texts) != len(sample.media):  # a processor's samples may have fewer tags than media (a video's own track)
        texts = [texts[0] if texts else ""] * len(sample.media)
    if list(media) == list(sample.media):
        return texts
    told = dict(zip(sample.media, texts, strict=True))
    return [told[item] for item in media]


def withhold(sample: Sample, kinds: Sequence[str]) -> Sample:
    """Remove the media of these kinds and their tags from the sample, for blind and deaf runs."""
    if not kinds or not any(item.kind in kinds for item in sample.media):
        return sample
    turns = [
        replace(turn, text=without_tags(turn.text, kinds)) if turn.role == "user" else turn for turn in sample.turns
    ]
    return replace(sample, turns=tuple(turns), media=tuple(item for item in sample.media if item.kind not in kinds))


def _naming(sample: Sample, error: MediaError) -> DataError:
    return DataError(said_of(sample, error))


@contextmanager
def naming_sample(sample: Sample) -> Iterator[None]:
    """Name the sample in what a part finds wrong with it; the error keeps its class."""
    try:
        yield
    except DataError as error:
        error.args = (said_of(sample, error),)
        raise


@contextmanager
def naming(sample: Sample, media: Media, *errors: type[Exception]) -> Iterator[None]:
    """Name the sample and the file in these errors of the parts; a ``ValueError`` of a part is a ``ConfigError``."""
    try:
        yield
    except MediaError:  # has its path; the policies of ``media`` decide
        raise
    except errors as error:
        kind = type(error) if isinstance(error, UserError) else ConfigError
        path = "" if str(media.path) in str(error) else f"{media.path}: "
        raise kind(said_of(sample, f"{path}{error}")) from error
