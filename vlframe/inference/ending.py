"""Ends generated answers: at texts that end one, and before the words that a chat template writes after one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from vlframe.errors import ConfigError


@dataclass(frozen=True)
class Ending:
    """What ends an answer besides a token. ``stops``: texts at whose first occurrence it ends. ``closing``: words that
    the chat template writes after an answer before its end-of-turn token; the model has learnt them, and they are not
    part of the answer.
    """

    stops: tuple[str, ...] = ()
    closing: str = ""

    def asked(self, asked: Any) -> Ending:
        """Return this with the stop strings of one call, given as transformers accepts them: one, or a list.

        ConfigError for anything else, and for an empty one, which would end every answer before it begins.
        """
        given = [asked] if isinstance(asked, str) else asked
        if given is None:
            return self
        if not isinstance(given, list | tuple) or not all(isinstance(stop, str) and stop for stop in given):
            raise ConfigError(f"stop_strings is {asked!r}; it is a text that ends answers, or a list of such texts")
        return Ending(tuple(dict.fromkeys([*given, *self.stops])), self.closing)

    def settings(self, sampling: dict[str, Any]) -> dict[str, Any]:
        """Return generation settings with these stop strings."""
        others = {name: value for name, value in sampling.items() if name != "stop_strings"}
        return {**others, "stop_strings": list(self.stops)} if self.stops else others

    def cut(self, text: str) -> str:
        """Return the answer in a generated text."""
        return self._without_closing(before_stop(text, self.stops))

    def pieces(self, pieces: Iterable[str]) -> Iterator[str]:
        """Yield the pieces of a generated text up to where its answer ends. What ends it may span several of them."""
        held, kept = "", max([len(stop) - 1 for stop in self.stops] + [len(self.closing)], default=0)
        for piece in pieces:
            held += piece
            whole = before_stop(held, self.stops)
            if len(whole) < len(held):
                held = whole
                break
            ready = len(held.rstrip()) - kept if self.closing else len(held) - kept
            if ready > 0:
                yield held[:ready]
                held = held[ready:]
        if held := self._without_closing(held):
            yield held

    def _without_closing(self, text: str) -> str:
        ended = text.rstrip()
        return ended.removesuffix(self.closing).rstrip() if self.closing and ended.endswith(self.closing) else text


def before_stop(text: str, stops: Sequence[str]) -> str:
    """Return the text before the first stop string in it."""
    return text[: min((at for at in map(text.find, stops) if at >= 0), default=len(text))]
