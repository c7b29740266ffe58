"""A conversation to tokens, with the answers marked.

The chat template renders the whole conversation once, as text. The answers are found in that text, by character, from
the template itself: rendering the turns before an answer, with the opening of an answer, gives a prefix of the whole.
The text is then tokenised once, media tags standing as special tokens of their own, so that the text around a tag
becomes what the tokenizer makes of text around any special token (a Mistral tokenizer opens each stretch with its
space mark, a Qwen tokenizer adds nothing). A token is supervised if any of its characters lies in an answer: a token
that a merge laid across the border is learnt, not lost. The end-of-turn token counts as part of the answer, white
space after it does not. No special token is added to those the template writes.

Special tokens that a user types (``</s>``) are read as the tokenizer reads them: most take them for the real thing.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from jinja2 import TemplateError
from tokenizers import AddedToken, Tokenizer

from vlframe.data.placeholders import PLACEHOLDERS
from vlframe.data.sample import TAGS, Sample, Turn, tags_in
from vlframe.data.text import Encoded, Slot
from vlframe.errors import ConfigError, DataError, NothingToLearn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Span = tuple[int, int]  # characters [start, end)

_ANY_TAG = re.compile("|".join(map(re.escape, TAGS.values())))
_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")


def encode(sample: Sample, tokenizer: "PreTrainedTokenizerFast") -> Encoded:
    """The whole conversation: answers supervised, one slot for each medium. ``DataError`` names a wrong sample."""
    _check_tags(sample)
    if not sample.turns or sample.turns[0].role == "assistant":
        raise DataError(f"sample {sample.id!r} must begin with a user or system turn; it has {_roles(sample.turns)}")
    text = _render(sample.turns, tokenizer, sample)
    spans = _answers_by_prefix(text, tokenizer, sample)
    if spans is None:
        spans = _answers_by_mark(tokenizer, sample)
    encoded = _tokenise(text, spans, sample, tokenizer)
    if not any(encoded.supervised):
        raise NothingToLearn(
            f"sample {sample.id!r} has nothing to learn: no assistant turn with a text or an end of turn"
        )
    return encoded


def encode_prompt(sample: Sample, tokenizer: "PreTrainedTokenizerFast") -> Encoded:
    """The conversation up to its last question, and the opening of the answer to be generated."""
    _check_tags(sample)
    users = [index for index, turn in enumerate(sample.turns) if turn.role == "user"]
    if not users:
        raise DataError(f"sample {sample.id!r} has no user turn to answer, only {_roles(sample.turns)}")
    text = _render(sample.turns[: users[-1] + 1], tokenizer, sample, opening=True)
    return _tokenise(text, [], sample, tokenizer)


def _check_tags(sample: Sample) -> None:
    for turn in sample.turns:
        if turn.role != "user" and (tag := _ANY_TAG.search(turn.text)):
            raise DataError(
                f"sample {sample.id!r} has {tag.group()} in a text of the {turn.role}; media belong in users' turns. "
                "Write the word without its angle brackets"
            )
    found = [kind for turn in sample.turns for _, kind in tags_in(turn.text)]
    given = [item.kind for item in sample.media]
    if found != given:
        raise DataError(
            f"sample {sample.id!r} has the tags {_listed(found)} in its texts and the media {_listed(given)}; "
            "there must be one tag for each item, in the same order"
        )


def _listed(kinds: Sequence[str]) -> str:
    return ", ".join(kinds) or "(none)"


def _roles(turns: Sequence[Turn]) -> str:
    return ", ".join(turn.role for turn in turns) or "no turns"


def _messages(turns: Sequence[Turn]) -> list[dict[str, str]]:
    return [{"role": turn.role, "content": turn.text} for turn in turns]


def _render(
    turns: Sequence[Turn], tokenizer: "PreTrainedTokenizerFast", sample: Sample, *, opening: bool = False
) -> str:
    if not tokenizer.chat_template:
        raise ConfigError(
            f"the tokenizer {tokenizer.name_or_path!r} has no chat template; name one of the language model's own "
            "(llm.chat_template)"
        )
    try:
        return tokenizer.apply_chat_template(_messages(turns), tokenize=False, add_generation_prompt=opening)
    except TemplateError as error:
        raise DataError(
            f"sample {sample.id!r}: the chat template refuses a conversation of {_roles(turns)}: {error}"
        ) from error


def _answers_by_prefix(text: str, tokenizer: "PreTrainedTokenizerFast", sample: Sample) -> list[Span] | None:
    """Where the answers stand in ``text``; None where the template rewrites earlier turns as a conversation goes on."""
    spans = []
    for index, turn in enumerate(sample.turns):
        if turn.role != "assistant":
            continue
        before = _render(sample.turns[:index], tokenizer, sample, opening=True)
        last = index + 1 == len(sample.turns)
        through = (text if last else _render(sample.turns[: index + 1], tokenizer, sample)).rstrip()
        if not (text.startswith(before) and text.startswith(through)):
            return None
        spans.append((len(before), len(through)))
    return spans


def _answers_by_mark(tokenizer: "PreTrainedTokenizerFast", sample: Sample) -> list[Span]:
    """Where the template itself says that answers stand, by ``{% generation %}``."""
    if not _GENERATION.search(tokenizer.chat_template):
        raise ConfigError(
            f"the chat template of {tokenizer.name_or_path!r} rewrites earlier turns of sample {sample.id!r} as the "
            "conversation goes on, so its answers cannot be told from its questions; mark them with "
            "{% generation %} in the template, or name another template (llm.chat_template)"
        )
    from transformers.utils.chat_template_utils import render_jinja_template

    _, spans = render_jinja_template(
        conversations=[_messages(sample.turns)],
        chat_template=tokenizer.chat_template,
        return_assistant_tokens_mask=True,
        **tokenizer.special_tokens_map,
    )
    return list(spans[0])


def _tokenise(text: str, answers: Sequence[Span], sample: Sample, tokenizer: "PreTrainedTokenizerFast") -> Encoded:
    tagged, kinds = _tagged(tokenizer)
    encoding = tagged.encode(text, add_special_tokens=False)
    in_answer = _marks(text, answers)
    in_words = _marks(text, _user_words(text, sample))
    ids, slots = list(encoding.ids), []
    supervised, words = [], []
    for position, (start, end) in enumerate(encoding.offsets):
        kind = kinds.get(ids[position])
        if kind is not None:
            slots.append(Slot(position, kind))
            ids[position] = PLACEHOLDERS[kind]
        # a space that a tokenizer trims from its offsets leaves an empty span just after it
        first = start if end > start else max(start - 1, 0)
        supervised.append(1 in in_answer[first:end])
        words.append(kind is None and first < end and 0 not in in_words[first:end])
    if [slot.kind for slot in slots] != [item.kind for item in sample.media]:
        raise DataError(
            f"sample {sample.id!r}: the chat template wrote the media {_listed([slot.kind for slot in slots])}, and "
            f"the sample has {_listed([item.kind for item in sample.media])}; it drops or repeats a user's turn"
        )
    return Encoded(ids, supervised, words, slots)


def _marks(text: str, spans: Sequence[Span]) -> bytearray:
    """One byte for each character: 1 inside a span."""
    marks = bytearray(len(text))
    for start, end in spans:
        marks[start:end] = b"\1" * max(end - start, 0)
    return marks


def _user_words(text: str, sample: Sample) -> list[Span]:
    """Where the users' own words stand in the rendered ``text``, which keeps their order."""
    spans, at = [], 0
    for turn in sample.turns:
        if turn.role != "user":
            continue
        for piece in _ANY_TAG.split(turn.text):
            piece = piece.strip()
            found = text.find(piece, at)
            if piece and found >= 0:
                at = found + len(piece)
                spans.append((found, at))
    return spans


_TAGGED: "WeakKeyDictionary[PreTrainedTokenizerFast, tuple[Tokenizer, dict[int, str]]]" = WeakKeyDictionary()


def _tagged(tokenizer: "PreTrainedTokenizerFast") -> "tuple[Tokenizer, dict[int, str]]":
    """A copy of the tokenizer that knows the media tags, and which of its ids means which kind.

    A copy, because the tags have no row in the model's embeddings: whoever saves or measures the tokenizer must not
    see them.
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
        copy.add_special_tokens([AddedToken(tag, normalized=False, special=True) for tag in TAGS.values()])
        _TAGGED[tokenizer] = copy, {copy.token_to_id(tag): kind for kind, tag in TAGS.items()}
    return _TAGGED[tokenizer]
