"""Processors turn a conversation and its media into token ids and tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from vlframe.contracts.reader import Reader
    from vlframe.contracts.sample import Media, Sample
    from vlframe.contracts.sampler import Sampler
    from vlframe.contracts.timeline import Timeline
    from vlframe.contracts.token_budget import TokenBudget


@dataclass(frozen=True)
class MediaSource:
    """The means to read media: the run's reader, sampler and ``media`` settings, and the part's front end
    (``PixelFrontEnd``, ``AudioFrontEnd``, or that of another modality). ``frames_per_step`` is the encoder's;
    ``limited_by`` is the key that sets the most frames of a clip.
    """

    reader: Reader
    front_end: Any
    sampler: Sampler
    config: Any  # MediaConfig
    training: bool
    frames_per_step: int = 1
    limited_by: str = "media.frames"


@dataclass(frozen=True)
class TokenizedSample:
    """A conversation tokenised by a processor: one placeholder (a negative id) for each of ``media``, in order.

    ``hidden`` is a token masked from attention wherever it occurs. ``instructions`` has a text for each of ``media``,
    for connectors that read one; empty: the text of the turn that contains the medium. ``first`` is a number that fills
    the embedding of the first token during training, instead of the token's own. ``apart``: the media stand beside the
    text, which has no placeholders.
    """

    ids: list[int]
    supervised: list[bool]
    media: tuple[Media, ...]
    hidden: int | None = None
    instructions: tuple[str, ...] = ()
    first: float | None = None
    apart: bool = False


class Processor(Protocol):
    """Reproduces another system's path from a conversation and its files to a row of a batch exactly.

    Sample order, failure handling and padding remain vlframe's. A method that returns None leaves this sample, or this
    file, to vlframe's default path. A processor may also have ``stop_strings``, a sequence of texts that end an answer,
    for language models without an end-of-turn token; they are not part of the answer.
    """

    def timeline(self, media: Media, source: MediaSource) -> Timeline | None:
        """Return which frames will be read, before anything is decoded."""
        ...

    def write(
        self,
        sample: Sample,
        timelines: Sequence[Timeline],
        tokenizer: Any,
        budget: TokenBudget | None,
        *,
        training: bool,
    ) -> TokenizedSample | None:
        """Return the tokens of a conversation whose media have these timelines (one for each of ``sample.media``).

        ``budget`` is None where data are checked without a composition."""
        ...

    def read(self, timeline: Timeline, source: MediaSource) -> Tensor | None:
        """Return uint8 ``frames_TCYX`` of a video or an image (T = 1), or float32 ``features_FM`` of sound."""
        ...

    def repeatable(self, media: Media) -> bool: ...  # False: reading the file again may give a different result
