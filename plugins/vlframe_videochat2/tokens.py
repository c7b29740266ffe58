"""Text with media to token ids, tokenised piece by piece between media as transformers 4 does it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vlframe import PLACEHOLDERS, transformers4_tokenizer
from vlframe_videochat2.text import MEDIUM, Piece

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Tokens = tuple[list[int], list[bool]]  # ids, and which are learnt


class Tokeniser:
    """Tokenises pieces of text.

    The official code counts the tokens of pieces that it tokenises one by one to find which are learnt, and stops if
    they do not add up to those of the whole. Here a token is learnt that ends in a piece that is; the result is the
    same where they add up.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.fast = transformers4_tokenizer(tokenizer)
        self.first = tokenizer.bos_token_id
        # Whether a question begins with that token is the tokenizer's choice; a conversation to learn always does.
        self.begins = self.first is not None and tokenizer("a").input_ids[:1] == [self.first]

    def tokens(self, pieces: Sequence[Piece], kinds: Sequence[str], *, start: bool) -> Tokens:
        """Return ids, a placeholder for each medium, after the token of a beginning if ``start``; and which are
        learnt."""
        text = "".join(piece.text for piece in pieces)
        learnt = [piece.learnt for piece in pieces for _ in piece.text]
        media, ids = iter(kinds), [self.first] if start and self.first is not None else []
        supervised, at = [False] * len(ids), 0
        for part in re.split(f"({MEDIUM})", text):
            if part == MEDIUM:
                ids.append(PLACEHOLDERS[next(media)])
                supervised.append(False)
            elif part:
                found = self.fast.encode(part, add_special_tokens=False)
                ids += found.ids
                supervised += [learnt[at + max(after, 1) - 1] for _, after in found.offsets]
            at += len(part)
        return ids, supervised
