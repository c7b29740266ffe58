"""Tokenizers as run by transformers 4, for which the official code of older systems was written."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from vlframe.errors import ConfigError

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase


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
