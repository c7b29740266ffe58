"""What a dataset yields: conversations that point at media files."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

MediaKind = Literal["video", "image", "audio"]
TAGS: dict[MediaKind, str] = {"video": "<video>", "image": "<image>", "audio": "<audio>"}


@dataclass(frozen=True)
class Media:
    """One file a conversation points at. ``start`` and ``end`` are seconds; None is the file's own border.

    ``track`` marks the sound of a video file: it follows the policy ``media.missing_audio`` when there is none.
    """

    kind: MediaKind
    path: Path
    start: float | None = None
    end: float | None = None
    track: bool = False


@dataclass(frozen=True)
class Turn:
    role: Literal["system", "user", "assistant"]
    text: str


@dataclass(frozen=True)
class Sample:
    """A conversation. Its texts hold a tag (``<video>``, ``<image>``, ``<audio>``) for each item of ``media``.

    ``answer`` and ``options`` are for benchmarks: the right answer, and all that may be chosen from. ``category``
    groups the scores.
    """

    id: str
    turns: tuple[Turn, ...]
    media: tuple[Media, ...] = ()
    answer: str | None = None
    options: tuple[str, ...] = ()
    category: str = ""


@runtime_checkable
class Dataset(Protocol):
    """A sequence of samples. ``parts`` (optional) are ranges of indices with the weight each is drawn with.

    A class may also offer ``entries(**parameters) -> Iterator[Entry]``, a class method that takes what ``__init__``
    takes: every row in order, the wrong ones too, for ``vlframe data check``. It raises only where there are no rows to
    speak of (no such file). A data set without it is built, and asked for one sample after the other.
    """

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Sample: ...


@dataclass(frozen=True)
class Problem:
    """What is wrong with a row, in words that say what is allowed.

    ``syntax``: it cannot be parsed; ``unknown_field``: it says more than is understood; ``row``: it does not add up.
    """

    kind: Literal["syntax", "unknown_field", "row"]
    text: str


@dataclass(frozen=True)
class Entry:
    """One row of a data set, good or not. ``where`` is its place in words (``train.jsonl, line 12``).

    ``sample`` is there as soon as the row has a meaning, also where ``problems`` keep it from being used.
    """

    where: str
    sample: Sample | None = None
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True)
class Part:
    """A contiguous range of a dataset that is drawn with its own weight."""

    start: int
    stop: int
    weight: float = 1.0


def tags_in(text: str) -> Iterator[tuple[int, MediaKind]]:
    """Every media tag of a text: where it begins, and its kind."""
    at = 0
    while True:
        found = [(text.find(tag, at), kind) for kind, tag in TAGS.items() if text.find(tag, at) >= 0]
        if not found:
            return
        position, kind = min(found)
        yield position, kind
        at = position + len(TAGS[kind])
