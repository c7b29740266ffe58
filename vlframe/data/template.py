"""Finds the text that a tokenizer's chat template writes around the turns of a conversation.

Turns are rendered a second time with marks in place of their texts: the text between the marks is the template's own.
Both renderings take time linear in the conversation.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from jinja2 import TemplateError

from vlframe.contracts.sample import Turn
from vlframe.data.marks import KEPT, Span, mark, marked
from vlframe.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TODAY = datetime(2024, 7, 26)  # for templates that write a date, so that a run is the same on any day
REFUSALS = (
    TemplateError,
    TypeError,
    ValueError,
    ArithmeticError,
    LookupError,
    AttributeError,
)  # raised by code inside a template
ASKED_TO_THINK = {"enable_thinking": True, "thinking": True}  # published templates have either
TELLING_WORDS = 2  # characters after an answer that end one: a full stop or a quotation mark does not
_LONG = '"It" ' + "and so on, " * 2000
_ESCAPED = re.compile(r'\\"It\\"|&(quot|#34|#x22);It&(quot|#34|#x22);')
_REPEATS = 8  # renderings of one conversation that must be equal


@dataclass(frozen=True)
class EndOfTurn:
    """What a template writes after an answer: plain ``words``, then the special ``token`` that ends the turn; "" for
    what it does not write.
    """

    words: str
    token: str


@dataclass(frozen=True)
class Facts:
    """The facts about a template. ``opening`` stands between a question and its answer, ``closing`` after the last
    answer; ``end`` is the same as a model that was trained with the template writes it. ``parts``: it takes contents as
    lists of parts, not as text.
    """

    parts: bool
    opening: str
    closing: str
    end: EndOfTurn


class ChatTemplate:
    """A tokenizer's chat template. ConfigError if it has none, or one that cannot write a question and its answer."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.name = tokenizer.name_or_path
        self._tokenizer = tokenizer
        if not tokenizer.chat_template:
            raise ConfigError(
                f"the tokenizer {self.name!r} has no chat template; name one of the language model's own "
                "(llm.chat_template)"
            )
        try:
            self.source: str = tokenizer.get_chat_template()
        except ValueError as error:  # several, and none of them is the default
            names = ", ".join(sorted(tokenizer.chat_template))
            raise ConfigError(
                f"the tokenizer {self.name!r} has several chat templates ({names}), and none is called default; name "
                "one of the language model's own (llm.chat_template)"
            ) from error
        known = _KNOWN.get(tokenizer)
        if known is None or known[0] != self.source:
            known = _KNOWN[tokenizer] = self.source, self._find_out()
        self.facts = known[1]

    def render(self, turns: Sequence[Turn], *, opening: bool = False) -> str:
        """Render a conversation, optionally with the ``opening`` of an answer. Raises whatever the template raises."""
        return self._render(turns, self.facts.parts, opening)

    def messages(self, turns: Sequence[Turn], parts: bool | None = None) -> list[dict[str, Any]]:
        """Return the turns in the form that templates read."""
        as_parts = self.facts.parts if parts is None else parts
        return [
            {"role": turn.role, "content": [{"type": "text", "text": turn.text}] if as_parts else turn.text}
            for turn in turns
        ]

    def places(self, text: str, turns: Sequence[Turn], *, opening: bool = False) -> list[Span] | None:
        """Find the text of each turn in ``text``; None if the template changes their texts.

        ConfigError for a template that omits system turns.
        """
        made = marked(turns)
        rendered = self.render(made.turns, opening=opening)
        lost = made.lost(rendered)
        if turns[0].role == "system" and 0 in lost:
            raise ConfigError(
                f"the chat template of {self.name!r} leaves system turns out, and there are some in the data; name "
                "another template (llm.chat_template), or take the system turns out of the data"
            )
        return None if lost else made.places(text, rendered)

    def lost_thoughts(self, turns: Sequence[Turn]) -> list[int]:
        """Return the answers (counted from 1) of whose texts around ``<think>`` the template leaves some out."""
        made = marked(turns)
        lost = made.lost(self.render(made.turns))
        answers = [number for number, turn in enumerate(turns) if turn.role == "assistant"]
        return [at for at, number in enumerate(answers, 1) if number in lost and _has_thought(turns[number])]

    def answers(self, text: str, turns: Sequence[Turn], places: Sequence[Span]) -> list[Span]:
        """Find what the model should write: each answer, the blanks before it, and its end of turn."""
        before, thoughtful = _gaps(text, places), {at for at, turn in enumerate(turns) if _has_thought(turn)}
        added = self._added(turns) if thoughtful else {}
        opening, closing = self.facts.opening, self.facts.closing
        spans = []
        for number, turn in enumerate(turns):
            if turn.role != "assistant":
                continue
            (start, end), gap = places[number], before[number]
            own = lead(gap, opening)
            if number in thoughtful:
                own = _after_own(gap, added[number], opening) if number in added else _after_opening(gap, opening)
                end = end if text.startswith(closing or "\0", end) else _past_words(text, end)
            last = end + len(closing) * text.startswith(closing, end)
            first = start - len(own)
            spans.append((first, first + len(text[first:last].rstrip())))
        return spans

    def _added(self, turns: Sequence[Turn]) -> dict[int, str]:
        """Return what the template itself writes before each turn, whatever the thoughts in the answers."""
        bare = [Turn(turn.role, KEPT.split(turn.text)[-1]) if _has_thought(turn) else turn for turn in turns]
        text = self.render(bare)
        places = self.places(text, bare)
        return {} if places is None else _gaps(text, places)

    def prompt(self, turns: Sequence[Turn], opened: str) -> str:
        """Return the conversation up to where an answer begins in training, including the text that the template writes
        before an answer. ``opened`` is the conversation with the template's own opening.
        """
        answer = mark(len(turns))
        try:
            whole = self.render([*turns, Turn("assistant", answer)])
        except REFUSALS:  # a template that is only for questions, here
            return opened
        before, found, _ = whole.rpartition(answer)
        if not found or _same_but_blanks(before, opened) or self._loses_system(turns):
            return opened
        return before.rstrip(" ")

    def thoughtful(self, turns: Sequence[Turn], opened: str) -> str:
        """Return ``opened``, ending as templates do that have to be asked for a thought."""
        asked = self._render(turns, self.facts.parts, True, ASKED_TO_THINK)
        end = opened.rfind(turns[-1].text) + len(turns[-1].text)
        return asked if asked[:end] == opened[:end] else opened

    def _loses_system(self, turns: Sequence[Turn]) -> bool:
        """Return whether a system turn is written before a last question, and not before its answer."""
        if turns[0].role != "system":
            return False
        made = marked(turns)
        return 0 in made.lost(self.render([*made.turns, Turn("assistant", mark(len(turns)))]))

    def refusal(self, turns: Sequence[Turn]) -> str:
        """Return why the template refuses a conversation of these roles, whatever its texts; "" if it does not."""
        try:
            self.render([Turn(turn.role, mark(number)) for number, turn in enumerate(turns)])
        except REFUSALS as error:
            return str(error) or type(error).__name__
        return ""

    def _find_out(self) -> Facts:
        reasons = []
        question, answer = Turn("user", mark(0)), Turn("assistant", mark(1))
        for parts in (False, True):
            try:
                texts = {self._render([question, answer], parts, False) for _ in range(_REPEATS)}
                asked = self._render([question], parts, True)
                closing = self._closing(parts, [question, answer])
            except REFUSALS as error:
                reasons.append(str(error) or type(error).__name__)
                continue
            if len(texts) > 1:
                raise ConfigError(
                    f"the chat template of {self.name!r} writes one conversation differently each time; name another "
                    "(llm.chat_template)"
                )
            text = texts.pop()
            if not marked([question, answer]).lost(text) and question.text in asked:
                opening = asked[asked.index(question.text) + len(question.text) :]
                self._check_whole(parts)
                return Facts(parts, opening, closing, self._end_of_turn(closing))
            reasons.append("it loses one of them")
        raise ConfigError(
            f"the chat template of {self.name!r} cannot write a question and its answer: given as text: {reasons[0]}; "
            f"as a list of parts: {reasons[1]}. Name another template (llm.chat_template)"
        )

    def _end_of_turn(self, closing: str) -> EndOfTurn:
        text = closing.strip()
        found = re.search(_one_of(self._special_tokens()), text)
        if found is not None:
            return EndOfTurn(text[: found.start()].rstrip(), found[0])
        one = len(text) >= TELLING_WORDS and len(self._tokenizer.encode(text, add_special_tokens=False)) == 1
        return EndOfTurn("", text) if one else EndOfTurn(text, "")

    def _check_whole(self, parts: bool) -> None:
        """Raise ConfigError for a template that cuts a long text short, or escapes texts as JSON and HTML do."""
        for number, role in enumerate(("user", "assistant")):
            texts = [mark(0), mark(1)]
            texts[number] += _LONG + mark(2)
            text = self._render([Turn("user", texts[0]), Turn("assistant", texts[1])], parts, False)
            _, _, written = text.partition(mark(number))
            escaped = _ESCAPED.match(written)
            if not escaped and mark(2) in written:
                continue
            how = f"writes {_LONG[:4]} as {escaped[0]}" if escaped else f"cuts one of {len(_LONG):,} characters short"
            raise ConfigError(
                f"the chat template of {self.name!r} changes the texts of {role} turns ({how}), which the language "
                "model would learn; name another template (llm.chat_template)"
            )

    def _closing(self, parts: bool, turns: Sequence[Turn]) -> str:
        """Return the end of an answer's turn: what follows the answer of ``turns`` whatever comes next."""
        answer, more = turns[-1].text, mark(len(turns))
        following = [self._render(turns, parts, False).partition(answer)[2]]
        try:
            following.insert(0, self._render([*turns, Turn("user", more)], parts, True).partition(answer)[2])
        except REFUSALS:  # a template for one question and its answer
            return following[0].rstrip()
        others = []
        for role in ("assistant", "system"):
            try:
                others.append(self._render([*turns, Turn(role, more)], parts, False).partition(answer)[2])
            except REFUSALS:  # many templates take no two answers, or no system turn, in a row
                continue
        special = self._special_tokens()
        return common_end([*following, *others], special) or common_end(following, special) or following[1].rstrip()

    def _special_tokens(self) -> list[str]:
        return [*self._tokenizer.all_special_tokens, *map(str, self._tokenizer.added_tokens_decoder.values())]

    def _render(
        self, turns: Sequence[Turn], parts: bool, opening: bool, settings: Mapping[str, Any] = MappingProxyType({})
    ) -> str:
        return str(
            self._tokenizer.apply_chat_template(
                self.messages(turns, parts),
                tokenize=False,
                add_generation_prompt=opening,
                strftime_now=TODAY.strftime,
                **settings,
            )
        )


def no_end_of_turn(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return a warning about a template that writes nothing after an answer; "" for one that does."""
    template = ChatTemplate(tokenizer)
    end = template.facts.end
    if end.token or len(end.words) >= TELLING_WORDS:
        return ""
    what = f"only {end.words!r}" if end.words else "no end of turn"
    return (
        f"the chat template of {template.name!r} writes {what} after an answer, so training does not teach "
        "the language model to stop: answers end only at tokens that it ends at already, at stop strings, or at "
        "max_new_tokens; name a template that writes one (llm.chat_template)"
    )


_KNOWN: WeakKeyDictionary[Any, tuple[str, Facts]] = WeakKeyDictionary()


def lead(gap: str, opening: str) -> str:
    """Return the end of ``gap`` that a model itself writes before its answer: blanks after the template's text."""
    if _same_but_blanks(gap, opening):
        return gap[len(opening) :]
    return gap[len(gap.rstrip(" ")) :]


def _same_but_blanks(one: str, other: str) -> bool:
    short, long = sorted((one, other), key=len)
    return long.startswith(short) and not long[len(short) :].strip()


def common_end(following: Sequence[str], special: Collection[str]) -> str:
    """Return what all of these texts begin with, in whole tokens, without blanks at its end. Two special tokens may
    begin alike.
    """
    unit = re.compile(rf"{_one_of(special)}|<[^<>\s]+>|\[[^][\s]+\]|\s|[^\s<[]+|.")
    split = [unit.findall(text) for text in following]
    shared = takewhile(lambda units: len(set(units)) == 1, zip(*split, strict=False))
    return "".join(units[0] for units in shared).rstrip()


def _one_of(tokens: Collection[str]) -> str:
    """Return a pattern of these texts, of which two may begin alike."""
    return "|".join(re.escape(token) for token in sorted(tokens, key=len, reverse=True) if token) or "(?!)"


def _has_thought(turn: Turn) -> bool:
    return turn.role == "assistant" and KEPT.search(turn.text) is not None


def _gaps(text: str, places: Sequence[Span]) -> dict[int, str]:
    """Return the text between each turn and the one before it."""
    ordered = sorted(range(len(places)), key=lambda number: places[number])
    ends = [0, *(places[number][1] for number in ordered)]
    return {number: text[end : places[number][0]] for number, end in zip(ordered, ends, strict=False)}


def _after_own(gap: str, bare: str, opening: str) -> str:
    """Return what stands in ``gap`` after the template's own text: the longer one of its ``opening`` and ``bare``,
    which is what it writes there without a thought.
    """
    following = _after_opening(gap, opening)
    return min(following, lead(bare, opening) + gap[len(bare) :], key=len) if gap.startswith(bare) else following


def _after_opening(gap: str, opening: str) -> str:
    """Return the end of ``gap`` after the template's ``opening``, or after as much of it as there is."""
    for start in range(len(opening.rstrip())):
        at = gap.rfind(opening[start:])
        if at >= 0:
            return gap[at + len(opening) - start :]
    return gap[gap.find("<think>") :] if "<think>" in gap else ""


def _past_words(text: str, at: int) -> int:
    """Return the end of the words around thoughts that begin at ``at``."""
    while found := KEPT.match(text, at):
        at = found.end()
    return at
