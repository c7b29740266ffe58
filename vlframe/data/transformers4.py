"""Tokenizers as run by transformers 4, for which the official code of older systems was written."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

from vlframe.contracts.modalities import PLACEHOLDERS
from vlframe.errors import ConfigError, DataError

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

MEDIUM = "\ue000"  # stands for a medium while a conversation is text; a private character that no text contains


class TextPart(NamedTuple):
    """A piece of a text between two borders, or a border, from character ``at``. ``spans`` are the characters
    [first, after) of each id in the whole text, as the tokenizer says them: it may leave the space before a word out.
    """

    at: int
    ids: list[int]
    spans: list[tuple[int, int]]
    is_medium: bool = False


class TextParts:
    """Tokenises a text piece by piece between borders: media, and special tokens if ``special``."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, special: bool = True) -> None:
        self.tokenizer = tokenizer
        self.fast = transformers4_tokenizer(tokenizer)
        borders = sorted([MEDIUM, *(tokenizer.all_special_tokens if special else ())], key=len, reverse=True)
        self.border = re.compile("(" + "|".join(map(re.escape, borders)) + ")")
        self.start = [] if tokenizer.bos_token_id is None else [int(tokenizer.bos_token_id)]

    def parts(self, text: str, kinds: Sequence[str]) -> Iterator[TextPart]:
        """Yield the parts of a text in order; a medium is the placeholder of the next of ``kinds``. DataError: a text
        of the sample has the character that stands for a medium.
        """
        check_media(text, kinds)
        media, at = iter(kinds), 0
        for number, part in enumerate(self.border.split(text)):  # text, border, text, ..., text
            whole = [(at, at + len(part))]
            if part == MEDIUM:
                yield TextPart(at, [PLACEHOLDERS[next(media)]], whole, is_medium=True)
            elif number % 2:
                yield TextPart(at, [int(self.tokenizer.convert_tokens_to_ids(part))], whole)  # type: ignore[arg-type]
            elif part:
                found = self.fast.encode(part, add_special_tokens=False)
                yield TextPart(at, list(found.ids), [(at + first, at + after) for first, after in found.offsets])
            at += len(part)


def check_media(text: str, kinds: Sequence[str]) -> None:
    """Raise DataError if ``MEDIUM`` occurs in a text more often than there are media, which it stands for."""
    if (found := text.count(MEDIUM)) > len(kinds):
        raise DataError(
            f"the character U+E000 is in the text {found - len(kinds)} time(s); it is a private one, which stands for "
            f"a medium here: take it out of the text (it is from a font of icons, or damaged)"
        )


def transformers4_tokenizer(tokenizer: PreTrainedTokenizerBase) -> Tokenizer:
    """Return a tokenizer for single pieces of text, without added special tokens.

    In transformers 4, a tokenizer of the sentencepiece family puts its space mark before every
    piece of text; in transformers 5 it omits it if the piece begins with a space. ConfigError for a tokenizer without a
    tokenizer.json.
    """
    if tokenizer not in _MADE:
        _MADE[tokenizer] = _made(tokenizer)
    return _MADE[tokenizer]


_MADE: WeakKeyDictionary[PreTrainedTokenizerBase, Tokenizer] = WeakKeyDictionary()


def _made(tokenizer: PreTrainedTokenizerBase) -> Tokenizer:
    from tokenizers import Tokenizer

    if not getattr(tokenizer, "is_fast", False):
        raise ConfigError(f"the tokenizer {tokenizer.name_or_path!r} has no tokenizer.json (it is not a 'fast' one)")
    rules = json.loads(tokenizer.backend_tokenizer.to_str())
    rules |= {"truncation": None, "padding": None}
    spaces = rules["pre_tokenizer"] or {}
    if spaces.get("type") == "Metaspace" and spaces.get("prepend_scheme") == "always":
        mark = spaces["replacement"]
        marking = [
            {"type": "Prepend", "prepend": mark},
            {"type": "Replace", "pattern": {"String": " "}, "content": mark},
        ]
        before = [rules["normalizer"]] if rules["normalizer"] else []
        rules |= {"normalizer": {"type": "Sequence", "normalizers": [*before, *marking]}, "pre_tokenizer": None}
    return Tokenizer.from_str(json.dumps(rules))
