"""Tokenises a conversation, with the answers marked.

The chat template renders the whole conversation once, as text, and once more with marks in place of the texts, which
shows where its own text stands (``vlframe.data.template``). The text that a template writes around an answer is not
supervised, except the end of the turn. The text is then tokenised once, with media tags as special tokens, so that the
text around a tag is tokenised like text around any special token (some tokenizers begin each piece with a space mark,
others add nothing). A token is supervised if any of its characters lies in an answer: a token that a merge laid across
the border is supervised. White space after the end-of-turn token is not. No special token is added to those that the
template writes.

A template that rewrites texts (for example, thoughts) is followed turn by turn, or by its own marks. Special tokens
typed by a user (``</s>``) are left to the tokenizer: most treat them as special.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from tokenizers import AddedToken, Tokenizer

from vlframe.contracts.modalities import PLACEHOLDERS, TAGS
from vlframe.contracts.sample import Sample, Turn, media_tags, written
from vlframe.data.marks import EMPTY_THOUGHT, Span, shape
from vlframe.data.template import REFUSALS, TODAY, ChatTemplate
from vlframe.data.text import Encoded, Slot
from vlframe.errors import ConfigError, DataError, NothingToLearn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")


def encode(sample: Sample, tokenizer: PreTrainedTokenizerFast) -> Encoded:
    """Encode the whole conversation: answers supervised, one slot per medium. ``DataError`` names the bad sample."""
    _check_tags(sample)
    if not sample.turns or sample.turns[0].role == "assistant":
        raise DataError(f"sample {sample.id!r} must begin with a user or system turn; it has {_roles(sample.turns)}")
    template, turns = ChatTemplate(tokenizer), _written(sample.turns)
    text = _render(template, turns, sample)
    places = template.places(text, turns)
    spans = _answers(template, text, turns, places, sample, tokenizer)
    encoded = _tokenise(text, spans, _user_words(text, turns, places), sample, tokenizer)
    if not any(encoded.supervised):
        raise NothingToLearn(
            f"sample {sample.id!r} has nothing to learn: no assistant turn with a text or an end of turn"
        )
    return encoded


def encode_prompt(sample: Sample, tokenizer: PreTrainedTokenizerFast, *, thinking: bool = False) -> Encoded:
    """Encode the conversation up to its last question, and the opening of the answer to be generated.

    Text that the template writes between the opening and an answer (an empty thought) belongs to the prompt, unless the
    model is to write it (``thinking``).
    """
    _check_tags(sample)
    users = [index for index, turn in enumerate(sample.turns) if turn.role == "user"]
    if not users:
        raise DataError(f"sample {sample.id!r} has no user turn to answer, only {_roles(sample.turns)}")
    template, turns = ChatTemplate(tokenizer), _written(sample.turns[: users[-1] + 1])
    opened = _render(template, turns, sample, opening=True)
    text = template.thoughtful(turns, opened) if thinking else template.prompt(turns, opened)
    same = opened.startswith(text) or text.startswith(opened)
    places = template.places(opened, turns, opening=True) if same else None
    return _tokenise(text, [], _user_words(text, turns, places), sample, tokenizer)


def shape_of(sample: Sample) -> Hashable:
    """Return what a template may treat differently: roles, number of turns, thoughts in answers, empty texts."""
    return shape(_written(sample.turns))


def check_shapes(tokenizer: PreTrainedTokenizerFast, samples: Iterable[Sample]) -> None:
    """Raise ConfigError or DataError if the chat template cannot write one of these samples, or not so that its answers
    can be found. One sample of each shape is tried.
    """
    template = ChatTemplate(tokenizer)
    seen = set()
    for sample in samples:
        turns, kind = _written(sample.turns), shape_of(sample)
        if turns and kind not in seen:
            seen.add(kind)
            text = _render(template, turns, sample)
            _answers(template, text, turns, template.places(text, turns), sample, tokenizer)


def _answers(
    template: ChatTemplate,
    text: str,
    turns: Sequence[Turn],
    places: Sequence[Span] | None,
    sample: Sample,
    tokenizer: PreTrainedTokenizerFast,
) -> list[Span]:
    if places is not None:
        return template.answers(text, turns, places)
    lost = template.lost_thoughts(turns)
    if lost and not _GENERATION.search(template.source):
        raise ConfigError(
            f"the chat template of {template.name!r} leaves out the thought in answer {lost[0]} of sample "
            f"{sample.id!r}, so it would not be learnt; take such thoughts (<think>…</think>) out of the data, or "
            "name another template (llm.chat_template)"
        )
    by_prefix = _answers_by_prefix(text, template, turns, sample)
    return by_prefix if by_prefix is not None else _answers_by_mark(template, turns, tokenizer, sample)


def _check_tags(sample: Sample) -> None:
    found = media_tags(sample.turns)
    given = [item.kind for item in sample.media]
    if found != given:
        hint = "" if given else f". A tag that is a word is written with a backslash: \\{TAGS[found[0]]}"
        raise DataError(
            f"sample {sample.id!r} has the tags {_listed(found)} in its users' texts and the media {_listed(given)}; "
            f"there must be one tag for each item, in the same order{hint}"
        )


def _listed(kinds: Sequence[str]) -> str:
    return ", ".join(kinds) or "(none)"


def _roles(turns: Sequence[Turn]) -> str:
    return ", ".join(turn.role for turn in turns) or "no turns"


def _inner_tag(kind: str) -> str:
    """Return what stands for a medium while a conversation is text: unlike ``<video>``, nobody types it."""
    return f"\ue000{kind}\ue001"


def _written(turns: Sequence[Turn]) -> list[Turn]:
    tags = {kind: _inner_tag(kind) for kind in TAGS}
    return [Turn(turn.role, written(turn, tags)) for turn in turns]


def _render(template: ChatTemplate, turns: Sequence[Turn], sample: Sample, *, opening: bool = False) -> str:
    try:
        return template.render(turns, opening=opening)
    except REFUSALS as error:
        rest = [turn for turn in turns if turn.role != "system"]
        if len(rest) < len(turns) and template.refusal(turns) and not template.refusal(rest):
            raise ConfigError(
                f"the chat template of {template.name!r} refuses system turns ({error}), and sample {sample.id!r} has "
                "one; name another template (llm.chat_template), or take the system turns out of the data"
            ) from error
        raise DataError(
            f"sample {sample.id!r}: the chat template refuses a conversation of {_roles(turns)}: {error}"
        ) from error


def _answers_by_prefix(text: str, template: ChatTemplate, turns: Sequence[Turn], sample: Sample) -> list[Span] | None:
    """Find the answers in ``text``; None if the template rewrites earlier turns as a conversation goes on."""
    spans, closing = [], template.facts.closing
    for index, turn in enumerate(turns):
        if turn.role != "assistant":
            continue
        before = _render(template, turns[:index], sample, opening=True)
        last = index + 1 == len(turns)
        through = (text if last else _render(template, turns[: index + 1], sample)).rstrip()
        if closing and closing in through[len(before) :]:  # some templates write a last token after it
            through = through[: through.rindex(closing) + len(closing)]
        if not (text.startswith(before) and text.startswith(through)):
            return None
        added = EMPTY_THOUGHT.match(text, len(before))
        start = added.end() if added and not EMPTY_THOUGHT.match(turn.text) else len(before)
        spans.append((start, len(through)))
    return spans


def _answers_by_mark(
    template: ChatTemplate, turns: Sequence[Turn], tokenizer: PreTrainedTokenizerFast, sample: Sample
) -> list[Span]:
    """Find the answers that the template itself marks by ``{% generation %}``."""
    if not _GENERATION.search(template.source):
        raise ConfigError(
            f"the chat template of {template.name!r} rewrites earlier turns of sample {sample.id!r} as the "
            "conversation goes on, so its answers cannot be distinguished from its questions; mark them with "
            "{% generation %} in the template, or name another template (llm.chat_template)"
        )
    from transformers.utils.chat_template_utils import render_jinja_template

    words: dict[str, Any] = {**tokenizer.special_tokens_map, "strftime_now": TODAY.strftime}
    rendered: Any = render_jinja_template(
        conversations=[template.messages(turns)],
        chat_template=template.source,
        return_assistant_tokens_mask=True,
        **words,
    )
    return list(rendered[1][0])


def _tokenise(
    text: str, answers: Sequence[Span], words: Sequence[Span], sample: Sample, tokenizer: PreTrainedTokenizerFast
) -> Encoded:
    tagged, kinds = _tagged(tokenizer)
    encoding = tagged.encode(text, add_special_tokens=False)
    in_answer, in_words = _marks(text, answers), _marks(text, words)
    ids, slots = list(encoding.ids), []
    supervised, trimmable = [], []
    for position, (start, end) in enumerate(encoding.offsets):
        kind = kinds.get(ids[position])
        if kind is not None:
            slots.append(Slot(position, kind))
            ids[position] = PLACEHOLDERS[kind]
        # a space that a tokenizer trims from its offsets leaves an empty span just after it
        first = start if end > start else max(start - 1, 0)
        supervised.append(1 in in_answer[first:end])
        trimmable.append(kind is None and first < end and 0 not in in_words[first:end])
    if [slot.kind for slot in slots] != [item.kind for item in sample.media]:
        raise DataError(
            f"sample {sample.id!r}: the chat template wrote the media {_listed([slot.kind for slot in slots])}, and "
            f"the sample has {_listed([item.kind for item in sample.media])}; it drops or repeats a user's turn"
        )
    return Encoded(ids, supervised, trimmable, slots)


def _marks(text: str, spans: Sequence[Span]) -> bytearray:
    """Return one byte per character: 1 inside a span."""
    marks = bytearray(len(text))
    for start, end in spans:
        marks[start:end] = b"\1" * max(end - start, 0)
    return marks


def _user_words(text: str, turns: Sequence[Turn], places: Sequence[Span] | None) -> list[Span]:
    """Find the users' own words in the rendered ``text``, which keeps their order."""
    tag = re.compile("|".join(_inner_tag(kind) for kind in TAGS))
    spans, at = [], 0
    for number, turn in enumerate(turns):
        if turn.role != "user":
            continue
        at = places[number][0] if places else at
        for piece in tag.split(turn.text):
            piece = piece.strip()
            found = text.find(piece, at)
            if piece and found >= 0:
                at = found + len(piece)
                spans.append((found, at))
    return spans


_TAGGED: WeakKeyDictionary[PreTrainedTokenizerFast, tuple[Tokenizer, dict[int, str]]] = WeakKeyDictionary()


def _tagged(tokenizer: PreTrainedTokenizerFast) -> tuple[Tokenizer, dict[int, str]]:
    """Return a copy of the tokenizer that knows the media tags, and the kind of each tag's id.

    A copy, because the tags have no row in the model's embeddings: the original must not contain them when it is saved
    or measured.
    """
    if tokenizer not in _TAGGED:
        if not getattr(tokenizer, "is_fast", False):
            raise ConfigError(
                f"the tokenizer {tokenizer.name_or_path!r} ({type(tokenizer).__name__}) does not say which characters "
                "its tokens come from; use one with a tokenizer.json (a 'fast' tokenizer)"
            )
        copy = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        copy.no_truncation()
        copy.no_padding()
        copy.add_special_tokens([AddedToken(_inner_tag(kind), normalized=False, special=True) for kind in TAGS])
        ids = {kind: copy.token_to_id(_inner_tag(kind)) for kind in TAGS}
        _TAGGED[tokenizer] = copy, {number: kind for kind, number in ids.items() if number is not None}
    return _TAGGED[tokenizer]
