"""Counts a sample's text tokens; those of its media follow from their shapes. Runs in workers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vlframe.contracts.sample import Media, Sample, said_of
from vlframe.data import text
from vlframe.data.prepare import tokenize, with_slots
from vlframe.datacheck.files import Taken
from vlframe.errors import DataError, MediaError, NothingToLearn, UserError, named_line

if TYPE_CHECKING:
    from vlframe.config.schema import TextConfig
    from vlframe.contracts.processor import Processor, TokenizedSample
    from vlframe.contracts.token_budget import TokenBudget


@dataclass(frozen=True)
class Counted:
    """A sample to be counted. ``taken`` are the results of its media, as far as they could be read."""

    number: int
    place: str
    sample: Sample
    answers: bool
    taken: dict[Media, Taken]


@dataclass(frozen=True)
class Length:
    """The tokens of a whole conversation before it is cut; None if its media could not be read."""

    total: int | None = None
    media: int | None = None
    supervised: int | None = None
    problem: str = ""
    text: str = ""
    allowed: bool = False  # by the policy: a note


class Measurer:
    """Tokenises conversations as training does. Without a ``budget``, lengths are not compared with a context."""

    def __init__(
        self, tokenizer: Any, budget: TokenBudget | None, config: TextConfig, processor: Processor | None
    ) -> None:
        self.tokenizer = tokenizer
        self.budget = budget
        self.config = config
        self.processor = processor

    def __call__(self, chunk: Sequence[Counted]) -> list[Length]:
        return [self._length(item) for item in chunk]

    def _length(self, item: Counted) -> Length:
        try:
            short, tokenized = self._short(item)
            if item.answers and not any(short.supervised):
                raise NothingToLearn(f"sample {item.sample.id!r} has nothing to learn: no token of it is supervised")
            return self._whole(item, short, tokenized)
        except NothingToLearn as error:
            return Length(problem="nothing_to_learn", text=said_of(item.sample, error))
        except (DataError, MediaError) as error:
            return Length(problem="row", text=said_of(item.sample, error))
        except UserError:
            raise  # the configuration is wrong, not the sample
        except Exception as error:  # raised by a template, tokenizer or processor; it would end a run
            return Length(problem="row", text=said_of(item.sample, named_line(error)))

    def _short(self, item: Counted) -> tuple[text.Encoded, TokenizedSample | None]:
        """Tokenise with one token for each medium."""
        tokenized = None
        if self.processor is not None:
            timelines = [item.taken.get(medium, Taken()).timeline(medium) for medium in item.sample.media]
            tokenized = self.processor.write(item.sample, timelines, self.tokenizer, self.budget, training=item.answers)
        if tokenized is not None:
            return with_slots(tokenized), tokenized
        answers, thinking = item.answers, self.config.thinking
        return tokenize(item.sample, self.tokenizer, answers=answers, thinking=thinking), None

    def _whole(self, item: Counted, short: text.Encoded, tokenized: TokenizedSample | None) -> Length:
        media = item.sample.media if tokenized is None else tokenized.media
        taken = [item.taken.get(medium, Taken()) for medium in media]
        supervised = sum(short.supervised)
        if self.budget is None or any(found.shape is None for found in taken):
            return Length(supervised=supervised)
        tokens = []
        for medium, found in zip(media, taken, strict=True):
            assert found.shape is not None
            try:
                tokens.append(self.budget.tokens(medium.kind, found.shape, found.tiles))
            except ValueError as error:
                raise DataError(said_of(item.sample, f"{medium.path}: {error}")) from error
        encoded = text.expand(short, tokens)
        known: dict[str, Any] = {"total": len(encoded), "media": encoded.media_tokens, "supervised": supervised}
        return Length(**known, **self._room(encoded, item.sample.id))

    def _room(self, encoded: text.Encoded, name: str) -> dict[str, Any]:
        """Report what ``text.too_long`` does with a conversation longer than the context."""
        assert self.budget is not None
        if len(encoded) <= self.budget.max_length:
            return {}
        policy = self.config.too_long
        try:
            text.fit(encoded, self.budget.max_length, policy, name)
        except DataError as error:
            return {"problem": "too_long", "text": str(error)}
        does = {"drop": "quarantined", "trim_text": "shortened"}[policy]
        numbers = f"{encoded.media_tokens} media tokens + {encoded.text_tokens} text tokens = {len(encoded)}"
        said = f"sample {name!r}: {numbers}, and the context is {self.budget.max_length}; it is {does} (text.too_long)"
        return {"problem": "too_long", "text": said, "allowed": True}
