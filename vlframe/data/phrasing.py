"""Phrases a question for a benchmark: its system turn, and the text before and after it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from vlframe.contracts.sample import Sample, Turn, as_words, tags_in

if TYPE_CHECKING:
    from vlframe.config.asking import AskingConfig


def phrased(sample: Sample, asking: AskingConfig) -> Sample:
    """Return the question with ``system`` replacing its system turns, and its last user turn between ``pre_prompt`` and
    ``post_prompt``. Tags in these three are literal text.
    """
    turns = list(sample.turns)
    if asking.system is not None:
        turns = [turn for turn in turns if turn.role != "system"]
        turns = [Turn("system", asking.system), *turns] if asking.system else turns
    asked = max((number for number, turn in enumerate(turns) if turn.role == "user"), default=None)
    if asked is not None and (asking.pre_prompt or asking.post_prompt):
        text = turns[asked].text
        at = _behind_media(text)
        words = as_words(asking.pre_prompt), text[at:], as_words(asking.post_prompt)
        turns[asked] = Turn("user", text[:at] + "".join(words))
    return sample if tuple(turns) == sample.turns else replace(sample, turns=tuple(turns))


def _behind_media(text: str) -> int:
    """Return where a user's text begins after its leading tags."""
    at = 0
    for start, kind in tags_in(text):
        if text[at:start].strip():
            break
        at = start + len(f"<{kind}>")
    return at + len(text[at:]) - len(text[at:].lstrip()) if at else 0
