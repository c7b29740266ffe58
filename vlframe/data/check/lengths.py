"""The tokens of a sample, without its media: their numbers follow from how long they are. Runs in workers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vlframe.data import chat, text
from vlframe.data.prepare import with_slots
from vlframe.data.sample import Media, Sample
from vlframe.errors import DataError, MediaError, NothingToLearn, UserError

if TYPE_CHECKING:
    from vlframe.config import TextConfig
    from vlframe.contracts import DataProtocol, Written
    from vlframe.model.compose import Plan


@dataclass(frozen=True)
class Counted:
    """A sample to be counted. ``lengths`` are those of its media, as far as they could be read."""

    number: int
    place: str
    sample: Sample
    answers: bool
    lengths: dict[Media, int | None]


@dataclass(frozen=True)
class Length:
    """Tokens of a whole conversation, before anything is cut; None where its media could not be read."""

    total: int | None = None
    media: int | None = None
    supervised: int | None = None
    problem: str = ""
    text: str = ""
    left_out: bool = False  # the policy allows for what was found: a note


class Measurer:
    """Writes conversations as training does. Without a ``plan`` nothing is compared with a context."""

    def __init__(self, tokenizer: Any, plan: Plan | None, config: TextConfig, protocol: DataProtocol | None) -> None:
        self.tokenizer = tokenizer
        self.plan = plan
        self.config = config
        self.protocol = protocol

    def __call__(self, chunk: Sequence[Counted]) -> list[Length]:
        return [self._length(item) for item in chunk]

    def _length(self, item: Counted) -> Length:
        try:
            short, written = self._short(item)
            if item.answers and not any(short.supervised):
                raise NothingToLearn(f"sample {item.sample.id!r} has nothing to learn: no token of it is supervised")
            return self._whole(item, short, written)
        except NothingToLearn as error:
            return Length(problem="nothing_to_learn", text=str(error))
        except (DataError, MediaError) as error:
            return Length(problem="row", text=str(error))
        except UserError:
            raise  # the configuration is wrong, not the sample
        except Exception as error:  # of a template, tokenizer or protocol; a run would end with it
            return Length(problem="row", text=f"sample {item.sample.id!r}: {type(error).__name__}: {error}")

    def _short(self, item: Counted) -> tuple[text.Encoded, Written | None]:
        """One token for each medium."""
        written = None
        if self.protocol is not None:
            written = self.protocol.write(item.sample, self.tokenizer, training=item.answers)
        if written is not None:
            return with_slots(written), written
        encode = chat.encode if item.answers else chat.encode_prompt
        return encode(item.sample, self.tokenizer), None

    def _whole(self, item: Counted, short: text.Encoded, written: Written | None) -> Length:
        media = item.sample.media if written is None else written.media
        lengths = [item.lengths.get(medium) for medium in media]
        supervised = sum(short.supervised)
        if self.plan is None or None in lengths:
            return Length(supervised=supervised)
        try:
            tokens = [self.plan.tokens(medium.kind, length) for medium, length in zip(media, lengths, strict=True)]
        except ValueError as error:
            raise DataError(f"sample {item.sample.id!r}: {error}") from error
        encoded = text.expand(short, tokens)
        known = {"total": len(encoded), "media": encoded.media_tokens, "supervised": supervised}
        return Length(**known, **self._room(encoded, item.sample.id))

    def _room(self, encoded: text.Encoded, name: str) -> dict[str, Any]:
        """What ``text.too_long`` does with a conversation that is longer than the context."""
        assert self.plan is not None
        if len(encoded) <= self.plan.context:
            return {}
        policy = self.config.too_long
        try:
            text.fit(encoded, self.plan.context, policy, name)
        except DataError as error:
            return {"problem": "too_long", "text": str(error)}
        does = {"drop": "left out and counted", "trim_text": "shortened"}[policy]
        numbers = f"{encoded.media_tokens} media tokens + {encoded.text_tokens} text tokens = {len(encoded)}"
        said = f"sample {name!r}: {numbers}, and the context is {self.plan.context}; it is {does} (text.too_long)"
        return {"problem": "too_long", "text": said, "left_out": True}
