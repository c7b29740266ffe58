"""What each kind of component promises.

Names carry shapes: B batch, T frames, C colours, Y X pixels, H W patches, D features, N media tokens, S sequence,
E embedding, V vocabulary, L waveform samples, F audio frames, M audio features, A audio steps, G generated tokens.

Encoders, connectors and language models are ``torch.nn.Module`` objects. Everything a neighbour needs to know before
anything runs (widths, grids, token counts) is an attribute or a method, so that a composition is checked by asking.
What a data set promises stands beside its samples, in ``vlframe/data/sample.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from vlframe.data.sample import Media, Sample

_PLANNING: ContextVar[bool] = ContextVar("vlframe_planning", default=False)


def planning() -> bool:
    """True while a composition is built on the meta device only to check that its parts fit.

    A component that reads pretrained weights in ``__init__`` must leave them alone then, and build its architecture.
    """
    return _PLANNING.get()


@contextmanager
def plan() -> Iterator[None]:
    """Everything constructed inside lives on the meta device and reads no weights."""
    from vlframe.meta_device import MetaDevice

    token = _PLANNING.set(True)
    try:
        with MetaDevice():
            yield
    finally:
        _PLANNING.reset(token)


@dataclass(frozen=True)
class VideoGrid:
    """The shape of an encoder's features: ``frames`` x ``height`` x ``width`` positions.

    ``sequence`` marks features without a plane (a class token beside the patches): height is 1, width their number.
    """

    frames: int
    height: int
    width: int
    sequence: bool = False

    @property
    def positions(self) -> int:
        return self.frames * self.height * self.width

    def __str__(self) -> str:
        return f"{self.frames}x{self.height}x{self.width}"


@dataclass(frozen=True)
class PixelSpec:
    """How frames become an encoder's input; owned by the encoder, the same in training and inference.

    ``fit`` is what happens to frames that are not square: ``crop`` (shortest edge to ``size``, then the centre),
    ``squash`` (both edges to ``size``), or ``pad`` (to a square with the mean colour, then to ``size``).
    """

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resampling: Literal["bicubic", "bilinear"] = "bicubic"
    fit: Literal["crop", "squash", "pad"] = "squash"

    def resize(self, frames_TYXC: np.ndarray) -> Tensor:
        """uint8 frames of any size -> uint8 ``frames_TCYX`` of ``size`` x ``size``."""
        from vlframe.media.pixels import resize

        return resize(frames_TYXC, self)

    def normalise(self, frames_TCYX: Tensor) -> Tensor:
        """uint8 ``frames_TCYX`` -> float32 ``pixels_TCYX``, (value / 255 - mean) / std per colour."""
        from vlframe.media.pixels import normalise

        return normalise(frames_TCYX, self)


class AudioSpec(Protocol):
    """How sound becomes an audio encoder's input; a small object that can be pickled to data workers."""

    sampling_rate: int  # Hz, mono
    seconds: float  # the longest sound heard; the rest is cut

    def features(self, waveform_L: Tensor) -> Tensor: ...  # features_FM, e.g. log-mel frames


@dataclass(frozen=True)
class VideoInfo:
    """What a container says about its video stream. ``fps`` is the average rate; nothing here is assumed."""

    frames: int
    fps: float
    height: int
    width: int
    has_audio: bool

    @property
    def seconds(self) -> float:
        return self.frames / self.fps


class Reader(Protocol):
    """Media files to arrays. Raises ``MediaError`` with path and reason for anything it cannot read whole."""

    def info(self, path: Path) -> VideoInfo: ...
    def frames(self, path: Path, indices: Sequence[int]) -> np.ndarray: ...  # RGB uint8 frames_TYXC, rotated upright
    def audio(self, path: Path, sampling_rate: int, start: float | None, end: float | None) -> np.ndarray: ...

    # waveform_L, mono float32 in [-1, 1]


class Encoder(Protocol):
    """Frames to features. ``forward`` takes any T >= 1; an image is T = 1."""

    dim: int  # D
    pixels: PixelSpec

    def grid(self, frames: int) -> VideoGrid: ...  # what forward returns, without running it
    def forward(self, pixels_BTCYX: Tensor) -> Tensor: ...  # features_BTHWD


class Connector(Protocol):
    """Features to media tokens; built with ``in_dim=encoder.dim, out_dim=llm.dim``.

    ``expands_images`` says that an image is to be seen as a clip of equal frames (the encoder still runs once). Such a
    connector may offer ``still(features_BHWD, frames) -> tokens_BNE``: what ``forward`` gives for the expanded clip,
    for less work.
    """

    expands_images: bool

    def tokens(self, grid: VideoGrid) -> int: ...  # N, without running it; ValueError when the grid does not fit
    def forward(self, features_BTHWD: Tensor) -> Tensor: ...  # tokens_BNE


class AudioEncoder(Protocol):
    """Sound to features."""

    dim: int  # D
    audio: AudioSpec

    def steps(self, frames: int) -> int: ...  # A for F audio frames, without running it
    def forward(self, features_BFM: Tensor) -> Tensor: ...  # features_BAD


class AudioConnector(Protocol):
    """Sound features to media tokens; built with ``in_dim=audio_encoder.dim, out_dim=llm.dim``."""

    def tokens(self, steps: int) -> int: ...  # N for A steps
    def forward(self, features_BAD: Tensor) -> Tensor: ...  # tokens_BNE


class LanguageModel(Protocol):
    """A decoder over embeddings. ``logits`` is apart from ``forward`` so that it runs only where it is needed."""

    dim: int  # E
    context: int  # the longest sequence, media tokens included
    tokenizer: Any  # a transformers fast tokenizer with a chat template

    def embed(self, ids_BS: Tensor) -> Tensor: ...  # embeds_BSE
    def forward(self, embeds_BSE: Tensor, mask_BS: Tensor) -> Tensor: ...  # hidden_BSE
    def logits(self, hidden_E: Tensor) -> Tensor: ...  # logits_V over the last dimension, any leading shape
    def generate(self, embeds_BSE: Tensor, mask_BS: Tensor, **sampling: Any) -> Tensor: ...

    # ids_BG, padded after the end of a row


@dataclass(frozen=True)
class MediaSource:
    """What a data protocol reads media with: the run's reader and ``media`` settings, and what the encoders ask for."""

    reader: Reader
    pixels: PixelSpec
    audio: AudioSpec | None
    config: Any  # MediaConfig
    training: bool


@dataclass(frozen=True)
class Written:
    """A conversation as a data protocol writes it: one placeholder (a negative id) for each of ``media``, in order.

    ``hidden`` is a token that attention does not see wherever it stands.
    """

    ids: list[int]
    supervised: list[bool]
    media: tuple[Media, ...]
    hidden: int | None = None


class DataProtocol(Protocol):
    """Another system's way from a conversation and its files to a row of a batch, to the letter.

    Which samples come when, what a failure does, and padding stay vlframe's. A method that returns None leaves this
    sample, or this file, to vlframe's own way.
    """

    def write(self, sample: Sample, tokenizer: Any, *, training: bool) -> Written | None: ...
    def read(self, media: Media, source: MediaSource) -> Tensor | None: ...

    # uint8 frames_TCYX of a video or an image (T = 1), float32 features_FM of sound
    def repeatable(self, media: Media) -> bool: ...  # False: reading the file again may give something else


class Benchmark(Protocol):
    """Questions, how an answer is read, and when it is right. The evaluator does the rest."""

    samples: Sequence[Sample]
    max_new_tokens: int

    def parse(self, text: str, sample: Sample) -> str | None: ...  # None: the text is no answer; counted, and wrong
    def correct(self, answer: str, sample: Sample) -> bool: ...


@dataclass
class Foreign:
    """Somebody else's checkpoint in our terms.

    ``config`` has keys of a run's config: the parts, ``media``. ``tensors`` are by part, under our names, in the number
    format of the files; all there are, also those that nothing of ours runs. ``adapters`` has the settings (rank,
    alpha, dropout, targets) of parts of which the checkpoint holds low-rank adapters. ``record`` are plain values that
    an export needs to write the same checkpoint again.
    """

    config: dict[str, Any]
    tensors: dict[str, dict[str, Tensor]]
    adapters: dict[str, dict[str, Any]] = field(default_factory=dict)
    tokenizer: Path | None = None  # a folder
    record: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Ours:
    """A run in the terms of ``Foreign``, to be written in somebody else's layout. ``language_model`` is the config of
    the language model as transformers knows it."""

    config: Mapping[str, Any]
    tensors: dict[str, dict[str, Tensor]]
    tokenizer: Path | None
    record: dict[str, Any]
    language_model: dict[str, Any]


class Layout(Protocol):
    """How another project lays its checkpoints out on disk; both ways."""

    def read(self, source: Path, given: Mapping[str, str | None]) -> Foreign: ...

    # ``given``: folders or files that the checkpoint refers to and does not hold (base, vision, audio)
    def write(self, folder: Path, ours: Ours) -> None: ...
    def their_name(self, part: str, name: str) -> str: ...  # of one of our tensors
    def unused(self, part: str, name: str) -> bool: ...  # their checkpoints hold it and nothing of ours runs it
    def repeats(self, part: str, name: str) -> str | None: ...  # the tensor that this one is a second name of, if any
    def verify(self, recording: Path) -> Iterator[Comparison]: ...  # recorded outputs of the original code


@dataclass(frozen=True)
class Comparison:
    """One recorded tensor beside ours. ``difference`` is None where ``note`` says why nothing was compared."""

    name: str
    difference: float | None
    tolerance: float
    note: str = ""

    @property
    def passed(self) -> bool:
        return self.difference is None or self.difference <= self.tolerance
