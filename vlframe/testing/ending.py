"""Checks of how a language model ends its answers. B batch, S sequence, E embedding, V vocabulary, G new tokens."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vlframe.data.template import ChatTemplate
from vlframe.testing.modules import noise
from vlframe.testing.subject import Subject

TRIES = 6  # prompts among which two are sought whose answers end at different times
NEW_TOKENS = 12


def check_ending(subject: Subject, length: int) -> None:
    """Check that a row stops at the end token, is filled with padding, and does not stop the others.

    Random weights hardly ever end an answer. So the words of a token that they do write and of the end token change
    places: their rows in the embeddings and in the output layer.
    """
    llm = subject.build().eval()
    end = _end(subject, llm)
    with subject.doing("generate()"):
        embeds_BSE = 0.5 * noise(TRIES, length, llm.dim)
        mask_BS = torch.ones(TRIES, length, dtype=torch.bool)
        alone = [
            llm.generate(embeds_BSE[row : row + 1], mask_BS[:1], max_new_tokens=NEW_TOKENS)[0].tolist()
            for row in range(TRIES)
        ]
    found = _ending_apart(alone, end)
    if found is None or not _swap(llm, *found[:1], end):
        subject.left_out("an answer that ends before another of its batch: no two answers of random weights differ so")
        return
    token, first, other = found
    stop, stops = alone[first].index(token), alone[other].index(token) if token in alone[other] else NEW_TOKENS
    with subject.doing("generate() of answers that end"):
        ids_BG = llm.generate(embeds_BSE[[first, other]], mask_BS[:2], max_new_tokens=NEW_TOKENS)
        single_G = llm.generate(embeds_BSE[[first]], mask_BS[:1], max_new_tokens=NEW_TOKENS)[0]
    _check_stopped(subject, llm, ids_BG, stop, min(stops + 1, NEW_TOKENS), end)
    if len(single_G) > stop + 1:
        _check_filled(subject, llm, single_G[stop + 1 :], end)
    subject.passed("generate: a row ends at its end token, is filled with padding, and does not end the others")


def _end(subject: Subject, llm: Any) -> int:
    """Return the end token, of the tokenizer or of what its template writes after an answer."""
    tokenizer = llm.tokenizer
    if tokenizer.eos_token_id is not None:
        return int(tokenizer.eos_token_id)
    token = ChatTemplate(tokenizer).facts.end.token
    if not token:
        subject.fail("has no end token, in its tokenizer or after an answer of its template: no answer would end")
    return int(tokenizer.convert_tokens_to_ids(token))


def _ending_apart(answers: list[list[int]], end: int) -> tuple[int, int, int] | None:
    """Return a token, a row that comes to it, and another row that comes to it clearly later, or never."""
    for first, mine in enumerate(answers):
        for token in dict.fromkeys(mine[:-3]):
            for other, theirs in enumerate(answers):
                at = theirs.index(token) if token in theirs else NEW_TOKENS
                if token != end and end not in (*mine, *theirs) and at > mine.index(token) + 1:
                    return token, first, other
    return None


def _swap(llm: Any, token: int, end: int) -> bool:
    """Let two tokens change places in everything that has a row for each of the vocabulary; return if anything has."""
    rows = llm.logits(torch.zeros(llm.dim)).shape[-1]
    tables = {id(item): item for item in llm.parameters() if item.shape[:1] == (rows,) and rows not in item.shape[1:]}
    with torch.no_grad():
        for table in tables.values():
            table[[token, end]] = table[[end, token]]
    return bool(tables)


def _check_stopped(subject: Subject, llm: Any, ids_BG: Tensor, stop: int, until: int, end: int) -> None:
    """Check a batch whose first row ends at ``stop``, and whose other row goes on to ``until``."""
    ended_G = ids_BG[0]
    if len(ended_G) <= stop or int(ended_G[stop]) != end:
        subject.fail(f"generate gives {ended_G.tolist()} where its end token, {end}, is the token number {stop}")
    if ids_BG.shape[1] < until:
        subject.fail(
            f"generate stops a batch after {ids_BG.shape[1]} tokens, when its first row has ended; the other goes on "
            f"to {until}"
        )
    _check_filled(subject, llm, ended_G[stop + 1 :], end)


def _check_filled(subject: Subject, llm: Any, rest_G: Tensor, end: int) -> None:
    padding = {end, llm.tokenizer.pad_token_id, *llm.tokenizer.all_special_ids} - {None}
    if words := [number for number in rest_G.tolist() if number not in padding]:
        subject.fail(
            f"generate goes on after the end of a row, with {words[:4]}; the rest is filled with the padding token"
        )
