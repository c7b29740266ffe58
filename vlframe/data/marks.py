"""Puts marks in place of the texts of a conversation, and finds the texts in a rendering by the marks.

Templates look for some words in texts (``<think>``) and write the texts around them elsewhere, or not at all. Such
words stay as they are in a marked text, and each text between them has a mark of its own, so that a template treats a
marked conversation as it treats the real one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vlframe.contracts.sample import Turn

Span = tuple[int, int]  # characters [start, end)

KEPT = re.compile(r"\s*</?(?:think|tool_response)>\s*")
EMPTY_THOUGHT = re.compile(r"\s*<think>\s*</think>\s*")
TRIMS: tuple[Callable[[str], str], ...] = (  # changes that templates make to a text before writing it
    str,
    str.strip,
    str.lstrip,
    str.rstrip,
    lambda text: text.strip("\n"),
    lambda text: text.lstrip("\n"),
    lambda text: text.rstrip("\n"),
)
_MARK = re.compile(r"Zq(\d+)Qz")


def mark(number: int) -> str:
    """Return a mark for a text: letters and digits, which no template changes."""
    return f"Zq{number}Qz"


def shape(turns: Sequence[Turn]) -> tuple[object, ...]:
    """Return what a template may treat differently: roles, empty texts, and the words that it may look for."""
    return tuple((turn.role, tuple(map(bool, KEPT.split(turn.text.strip()))), *_words(turn)) for turn in turns)


def _words(turn: Turn) -> list[str]:
    return [word.strip() for word in KEPT.findall(turn.text)]


@dataclass(frozen=True)
class Marked:
    """A conversation with marks. Mark n stands for ``texts[n]``, which belongs to turn ``owners[n]``."""

    turns: list[Turn]
    texts: list[str]
    owners: list[int]

    def lost(self, rendered: str) -> set[int]:
        """Return the turns of which a rendering of the marked turns lacks a text or repeats one."""
        found = Counter(int(number) for number in _MARK.findall(rendered))
        return {owner for number, owner in enumerate(self.owners) if found[number] != 1}

    def places(self, text: str, rendered: str) -> list[Span] | None:
        """Find each turn in ``text``, from its first text to its last; None if ``text`` differs by more than the marks.

        ``rendered`` is the rendering of the marked turns, and loses none.
        """
        order = [int(number) for number in _MARK.findall(rendered)]
        found = _walk(text, [self.texts[number] for number in order], _MARK.split(rendered)[::2])
        if found is None:
            return None
        spans: dict[int, Span] = {}
        for number, (start, end) in zip(order, found, strict=True):
            first, last = spans.get(self.owners[number], (start, end))
            spans[self.owners[number]] = min(first, start), max(last, end)
        return [spans[turn] for turn in range(len(self.turns))]


def marked(turns: Sequence[Turn]) -> Marked:
    """Put marks in place of the texts of these turns; a turn without a text has one as well."""
    made = Marked([], [], [])
    for turn in turns:
        pieces, words = KEPT.split(turn.text), [*KEPT.findall(turn.text), ""]
        told = [at for at, piece in enumerate(pieces) if piece] or [len(pieces) - 1]
        written = ""
        for at, (piece, word) in enumerate(zip(pieces, words, strict=True)):
            if at in told:
                written += mark(len(made.texts))
                made.texts.append(piece)
                made.owners.append(len(made.turns))
            written += word
        made.turns.append(Turn(turn.role, written))
    return made


def _walk(text: str, contents: Sequence[str], literals: Sequence[str]) -> list[Span] | None:
    """Find each content between the literals of a template; None if they do not make up ``text``."""
    following = [*contents[1:], "end"]
    at, places = _behind(text, 0, literals[0], contents[0]), []
    for content, literal, after in zip(contents, literals[1:], following, strict=True):
        if at is None:
            return None
        start, at = at, None
        for trim in TRIMS:
            end = start + len(trim(content))
            at = _behind(text, end, literal, after) if text.startswith(trim(content), start) else None
            if at is not None:
                places.append((start, end))
                break
    return places if at == len(text) else None


def _behind(text: str, at: int, literal: str, content: str) -> int | None:
    """Return the end of ``literal`` at ``at``; None if it is not there. Templates leave out the blanks before a
    ``content`` that is empty.
    """
    for written in (literal, literal.rstrip()) if not content.strip() else (literal,):
        if text.startswith(written, at):
            return at + len(written)
    return None
