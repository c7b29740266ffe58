"""A conversation as tokens: the slots of its media, its length, and how it is shortened."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from vlframe.errors import DataError


class Slot(NamedTuple):
    """A place that media tokens will fill: ``tokens`` placeholders from ``position`` on."""

    position: int
    kind: str
    tokens: int = 1


@dataclass(frozen=True)
class Encoded:
    """The tokens of one conversation.

    ``supervised`` marks the tokens the model is to produce. ``trimmable`` marks the tokens wholly within a user's text
    (no media, no template), the only ones before an answer that ``trim_text`` may cut.
    """

    ids: list[int]
    supervised: list[bool]
    trimmable: list[bool]
    slots: list[Slot]

    @property
    def media_tokens(self) -> int:
        return sum(slot.tokens for slot in self.slots)

    @property
    def text_tokens(self) -> int:
        return len(self.ids) - self.media_tokens

    def __len__(self) -> int:
        return len(self.ids)


def expand(encoded: Encoded, counts: Sequence[int]) -> Encoded:
    """Repeat the placeholder of each slot by its connector's number of tokens; ``counts`` has one number per slot."""
    if len(counts) != len(encoded.slots) or any(count < 1 for count in counts):
        raise ValueError(f"{len(encoded.slots)} media slots need as many counts of at least 1, not {list(counts)}")
    ids: list[int] = []
    supervised: list[bool] = []
    trimmable: list[bool] = []
    slots: list[Slot] = []
    done = 0
    for slot, count in zip(encoded.slots, counts, strict=True):
        ids += encoded.ids[done : slot.position]
        supervised += encoded.supervised[done : slot.position]
        trimmable += encoded.trimmable[done : slot.position]
        slots.append(Slot(len(ids), slot.kind, count))
        ids += [encoded.ids[slot.position]] * count
        supervised += [False] * count
        trimmable += [False] * count
        done = slot.position + slot.tokens
    return Encoded(
        ids + encoded.ids[done:], supervised + encoded.supervised[done:], trimmable + encoded.trimmable[done:], slots
    )


def fit(encoded: Encoded, context: int, policy: str, sample_id: str) -> Encoded | None:
    """Fit the conversation into ``context`` tokens by one of three policies.

    ``error`` raises ``DataError`` with the three numbers. ``drop`` returns None, for the caller to count. ``trim_text``
    cuts text and never media. It first cuts the end, which leaves the context of every remaining token unchanged,
    provided that all media and something to learn remain. Otherwise (a long text ahead of a short answer, or a prompt,
    which has no answer) it cuts users' text, the earliest first, and leaves the template and the answers whole. It
    raises ``DataError`` if that is not enough.
    """
    if len(encoded) <= context:
        return encoded
    if policy == "drop":
        return None
    if policy == "error":
        raise DataError(_too_long(encoded, context, sample_id) + ". " + _ADVICE)
    last = encoded.slots[-1] if encoded.slots else Slot(0, "image", 0)
    if last.position + last.tokens <= context and any(encoded.supervised[:context]):
        return Encoded(
            encoded.ids[:context], encoded.supervised[:context], encoded.trimmable[:context], list(encoded.slots)
        )
    return _without_words(encoded, context, sample_id)


_ADVICE = (
    "Give fewer frames, take a connector with fewer tokens, raise the context, "
    "or choose the policy 'drop' or 'trim_text'"
)


def _too_long(encoded: Encoded, context: int, sample_id: str) -> str:
    return (
        f"sample {sample_id!r} does not fit the context: {encoded.media_tokens} media tokens + {encoded.text_tokens} "
        f"text tokens = {len(encoded)}, and the context is {context}"
    )


def _without_words(encoded: Encoded, context: int, sample_id: str) -> Encoded:
    excess = len(encoded) - context
    at = [position for position, cuttable in enumerate(encoded.trimmable) if cuttable]
    if len(at) < excess:
        raise DataError(
            f"{_too_long(encoded, context, sample_id)}; only {len(at)} text tokens may be cut, and media never. "
            "Give fewer frames, take a connector with fewer tokens, or raise the context"
        )
    cut = set(at[:excess])
    kept = [position for position in range(len(encoded)) if position not in cut]
    moved = {old: new for new, old in enumerate(kept)}
    return Encoded(
        [encoded.ids[position] for position in kept],
        [encoded.supervised[position] for position in kept],
        [encoded.trimmable[position] for position in kept],
        [slot._replace(position=moved[slot.position]) for slot in encoded.slots],
    )


def cut_text(ids: list[int], supervised: list[bool], most: int) -> tuple[list[int], list[bool]]:
    """Return the first ``most`` tokens of a conversation, not counting the placeholders of media."""
    seen = 0
    for place, token in enumerate(ids):
        seen += token >= 0
        if seen > most:
            return ids[:place], supervised[:place]
    return ids, supervised
