"""The output of datasets: conversations that refer to media files."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from vlframe.contracts.modalities import TAGS
from vlframe.contracts.reader import ClipPath
from vlframe.errors import DataError

HALF_A_PAIR = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Media:
    """A file that a conversation refers to; a video may also be a folder or a list of pictures. ``start`` and ``end``
    are seconds on its clock; None is the file's own start or end.

    ``track`` marks the sound of a video file; if it is missing, ``media.missing_audio`` applies.
    """

    kind: str  # a kind of media: video, image, audio, or one that a plugin brings
    path: ClipPath
    start: float | None = None
    end: float | None = None
    track: bool = False


@dataclass(frozen=True)
class Turn:
    role: Literal["system", "user", "assistant"]
    text: str


@dataclass(frozen=True)
class Sample:
    """A conversation. Its user turns contain a tag (``<video>``, ``<image>``, ``<audio>``) for each item of ``media``;
    ``\\<video>`` is literal text, as is any tag in other turns.

    ``answer`` and ``options`` are for benchmarks: the right answer, and all choices. ``other_answers`` are equally
    right. ``category`` groups the scores. DataError for text that is not valid Unicode, which no tokenizer accepts.
    """

    id: str
    turns: tuple[Turn, ...]
    media: tuple[Media, ...] = ()
    answer: str | None = None
    options: tuple[str, ...] = ()
    category: str = ""
    other_answers: tuple[str, ...] = ()

    @property
    def answers(self) -> tuple[str, ...]:
        """Return all right answers (references), ``answer`` first."""
        return self.other_answers if self.answer is None else (self.answer, *self.other_answers)

    def __post_init__(self) -> None:
        turns = [(f"its {turn.role} turn", turn.text) for turn in self.turns]
        options = [("one of its options", option) for option in self.options]
        named = [
            ("its id", self.id),
            *turns,
            *[("its answer", answer) for answer in self.answers],
            *options,
            ("its category", self.category),
        ]
        for where, text in named:
            if not isinstance(text, str):
                raise DataError(f"sample {self.id!r}: {where} is {text!r}, a {type(text).__name__}; it must be a text")
            if half := HALF_A_PAIR.search(text):
                raise DataError(
                    f"sample {self.id!a}: {where} is no Unicode: character {half.start() + 1} is half a surrogate "
                    f"pair ({ascii(half.group())[1:-1]}), as is left of an emoji that was cut in two; write the whole "
                    f"character or leave it out"
                )


def said_of(sample: Sample, message: object) -> str:
    """Return a message with the sample's name before it, unless it already says ``sample '<id>'``."""
    name = f"sample {sample.id!r}"
    return str(message) if name in str(message) else f"{name}: {message}"


class Dataset(Protocol):
    """A sequence of samples. ``subsets`` (optional) are ranges of indices with the weight each is drawn with.

    A class may also offer ``entries(**parameters) -> Iterator[Entry]``, a class method that takes what ``__init__``
    takes: every row in order, including invalid ones, for ``vlframe data check``. It raises only if there are no rows
    at all (no such file). A data set without it is built and read sample by sample.

    ``check_parameters(parameters)`` (optional, a static method) raises a ConfigError or DataError for parameters that
    ``__init__`` would refuse, if that is known at once (no such file). It is called before anything heavy is imported.
    """

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Sample: ...


@dataclass(frozen=True)
class Problem:
    """A row's problem, in words that say what is allowed.

    ``syntax``: it cannot be parsed; ``unknown_field``: it has fields that are not known; ``row``: it is inconsistent.
    """

    kind: Literal["syntax", "unknown_field", "row"]
    text: str


@dataclass(frozen=True)
class Entry:
    """A row of a data set, valid or not. ``where`` is its place in words (``train.jsonl, line 12``).

    ``sample`` is set whenever the row can be interpreted, even if ``problems`` keep it from being used. ``part`` names
    the part of a mixture that it belongs to.
    """

    where: str
    sample: Sample | None = None
    problems: tuple[Problem, ...] = ()
    part: str = ""


@dataclass(frozen=True)
class Subset:
    """A contiguous range of a data set, drawn with its own weight. ``name`` is for messages: a file, a category."""

    start: int
    stop: int
    weight: float = 1.0
    name: str = field(default="", compare=False)


def tags_in(text: str) -> Iterator[tuple[int, str]]:
    """Yield the start and kind of every media tag in a user's text. ``\\<video>`` is literal text, not a tag."""
    for found in _tags().finditer(text):
        if not found["escape"]:
            yield found.start(), found["kind"]


def media_tags(turns: Iterable[Turn]) -> list[str]:
    """Return the kinds of all media tags, in order. In a system turn or an answer a tag is literal text."""
    return [kind for turn in turns if turn.role == "user" for _, kind in tags_in(turn.text)]


def written(turn: Turn, tags: Mapping[str, str]) -> str:
    """Return the text as the model reads it: media tags replaced by ``tags`` (by kind), escaped ones unescaped."""
    if turn.role != "user":
        return turn.text
    return _tags().sub(lambda found: f"<{found['kind']}>" if found["escape"] else tags[found["kind"]], turn.text)


def asked_turns(sample: Sample) -> list[Turn]:
    """Return the turns up to the last question. DataError if there is none."""
    users = [index for index, turn in enumerate(sample.turns) if turn.role == "user"]
    if not users:
        raise DataError(f"sample {sample.id!r} has no user turn to answer")
    return list(sample.turns[: users[-1] + 1])


def split_tags(turn: Turn) -> tuple[list[str], list[str]]:
    """Split a turn at its media tags; return the texts around them, one more than there are tags, and the tags' kinds.
    Escaped tags are literal text; only user turns have tags.
    """
    if turn.role != "user":
        return [turn.text], []
    texts, kinds = [""], []
    at = 0
    for found in _tags().finditer(turn.text):
        texts[-1] += turn.text[at : found.start()]
        if found["escape"]:
            texts[-1] += f"<{found['kind']}>"
        else:
            kinds.append(found["kind"])
            texts.append("")
        at = found.end()
    texts[-1] += turn.text[at:]
    return texts, kinds


def without_tags(text: str, kinds: Collection[str]) -> str:
    """Remove the media tags of these kinds from a user's text, each with the line break after it."""
    return _tags(r"\n?").sub(lambda found: found.group() if found["escape"] or found["kind"] not in kinds else "", text)


def as_words(text: str) -> str:
    """Escape all media tags in a user's text."""
    return _tags().sub(lambda found: f"\\<{found['kind']}>", text)


def tag_after(text: str, kind: str, other: str) -> str:
    """Insert a tag of the kind ``other`` directly after each media tag of ``kind`` in a user's text."""
    return _tags().sub(
        lambda found: found.group() + f"<{other}>" * (found["kind"] == kind and not found["escape"]), text
    )


def _tags(after: str = "") -> re.Pattern[str]:
    """Return a pattern for any tag with an optional escaping backslash."""
    return re.compile(rf"(?P<escape>\\?)<(?P<kind>{'|'.join(map(re.escape, TAGS))})>{after}")
