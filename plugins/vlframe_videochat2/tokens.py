"""Text with media to token ids, tokenised piece by piece between media as transformers 4 does it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vlframe import TextParts
from vlframe_videochat2.text import Piece

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
        self.text = TextParts(tokenizer, special=False)
        self.first = tokenizer.bos_token_id
        # Whether a question begins with that token is the tokenizer's choice; a conversation to learn always does.
        self.begins = self.first is not None and tokenizer("a").input_ids[:1] == [self.first]

    def tokens(self, pieces: Sequence[Piece], kinds: Sequence[str], *, start: bool) -> Tokens:
        """Return ids, a placeholder for each medium, after the token of a beginning if ``start``; and which are
        learnt."""
        learnt = [piece.learnt for piece in pieces for _ in piece.text]
        ids = list(self.text.start) if start else []
        supervised = [False] * len(ids)
        for part in self.text.parts("".join(piece.text for piece in pieces), kinds):
            ids += part.ids
            supervised += [not part.is_medium and learnt[max(after - 1, part.at)] for _, after in part.spans]
        return ids, supervised
