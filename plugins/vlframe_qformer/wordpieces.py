"""BERT's word pieces: the text front end of Q-Formers that read an instruction. I instruction tokens."""

from __future__ import annotations

import string
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import AutoTokenizer

from vlframe import ConfigError

LETTERS = "letters"  # spells words: for tests and examples, where there is no vocabulary to download
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
BEGINNING = "[DEC]"  # which BLIP-2 adds to BERT's vocabulary
PAD = 0


@dataclass(frozen=True)
class WordPieces:
    """A text between ``[CLS]`` and ``[SEP]``, of ``longest`` tokens at most: of a longer one the ``cut`` is at its
    beginning, as in the official code for instructions, or at its end, as there for captions.

    ``pad_to`` fills short ones up on a ``side``, for those who want what the official batches had: there all
    instructions of a batch are as long as its longest. On the left that moves every token to another position.
    """

    tokenizer: str
    vocabulary: int
    longest: int
    pad_to: int = 0
    side: str = "right"
    cut: str = "beginning"

    @property
    def beginning(self) -> int:
        """Return the number of ``[DEC]``."""
        tokenizer = vocabulary(self.tokenizer)
        found = tokenizer.token_to_id(BEGINNING)
        assert found is not None  # added where the vocabulary is opened
        return int(found)

    @property
    def pads(self) -> bool:
        return self.pad_to > 0

    def encode(self, instruction: str) -> list[int]:
        """Return ids; two of an empty text."""
        tokenizer = vocabulary(self.tokenizer)
        size = tokenizer.get_vocab_size()
        if size > self.vocabulary:
            raise ConfigError(
                f"the connector's tokenizer {self.tokenizer!r} has {size} word pieces and the connector has embeddings "
                f"for {self.vocabulary}; take the tokenizer that belongs to it, or set connector.vocabulary={size}"
            )
        first, last = (tokenizer.token_to_id(name) or PAD for name in ("[CLS]", "[SEP]"))  # which are there
        ids = list(tokenizer.encode(instruction, add_special_tokens=False).ids)
        room = self.longest - 2
        ids = [first, *(ids[:room] if self.cut == "end" else ids[max(0, len(ids) - room) :]), last]
        padding = [PAD] * (self.pad_to - len(ids))
        return [*padding, *ids] if self.side == "left" else [*ids, *padding]


@lru_cache(maxsize=8)
def vocabulary(name: str) -> Tokenizer:
    """Return the tokenizer of a folder or a hub id, with ``[DEC]`` added; or that of ``letters``. ConfigError for one
    that is not BERT's.
    """
    if name == LETTERS:
        return _letters()
    try:
        if name.startswith(("/", ".", "~")) and not Path(name).is_dir():  # the library would take it for a hub id
            raise OSError("it is a path, and there is no such folder")
        tokenizer: Tokenizer = AutoTokenizer.from_pretrained(name).backend_tokenizer
    except (OSError, ImportError, ValueError, AttributeError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ConfigError(
            f"connector tokenizer {name!r} cannot be read: {reason}. It must be a folder with BERT's vocabulary, a hub "
            f"id that is reachable or cached, or {LETTERS!r}, which is for random weights"
        ) from error
    if (
        any(tokenizer.token_to_id(token) is None for token in ("[CLS]", "[SEP]"))
        or tokenizer.token_to_id("[PAD]") != PAD
    ):
        raise ConfigError(f"connector tokenizer {name!r} is not BERT's: it needs [CLS], [SEP], and [PAD] as number 0")
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.add_special_tokens([BEGINNING])
    return tokenizer


def _letters() -> Tokenizer:
    """Return word pieces of one character each: small letters, digits and signs."""
    signs = [*string.ascii_lowercase, *string.digits, *string.punctuation]
    pieces = [*SPECIAL, *signs, *(f"##{sign}" for sign in string.ascii_lowercase + string.digits)]
    tokenizer = Tokenizer(models.WordPiece({piece: number for number, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens([BEGINNING])
    return tokenizer
