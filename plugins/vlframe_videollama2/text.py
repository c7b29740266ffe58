"""A conversation to tokens as the official code does it (videollama2/train.py, mm_utils.py, __init__.py).

Supervision is found by tokenising prefixes of the conversation and counting, so a token that a merge lays across the
border of an answer is not learnt, and what a template writes after an answer (the newline of ChatML) is.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from jinja2 import TemplateError
from tokenizers import Tokenizer

from vlframe import PLACEHOLDERS, TAGS, ConfigError, DataError, Turn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SYSTEM_PROMPT = (  # __init__.py:63-70
    "<<SYS>>\nYou are a helpful, respectful and honest assistant. Always answer as helpfully as possible, while being "
    "safe.  Your answers should not include any harmful, unethical, racist, sexist, toxic, dangerous, or illegal "
    "content. Please ensure that your responses are socially unbiased and positive in nature.\nIf a question does not "
    "make any sense, or is not factually coherent, explain why instead of answering something not correct. If you "
    "don't know the answer to a question, please don't share false information.\n<</SYS>>"
)
_PLACEHOLDER = {tag: PLACEHOLDERS[kind] for kind, tag in TAGS.items()}

Tokens = tuple[list[int], list[bool]]  # ids with placeholders; which of them are learnt


def multimodal_ids(text: str, tokenizer: PreTrainedTokenizerBase, tag: str | None) -> list[int]:
    """The pieces between the tags, each tokenised on its own (mm_utils.tokenizer_multimodal_token).

    Other tags than ``tag`` are plain text.
    """
    pieces = text.split(tag) if tag else [text]
    ids: list[int] = []
    for number, piece in enumerate(pieces):
        if number:
            ids.append(_PLACEHOLDER[str(tag)])
        ids += _official(tokenizer).encode(piece, add_special_tokens=False).ids
    return ids


def _official(tokenizer: PreTrainedTokenizerBase) -> Tokenizer:
    """The tokenizer as transformers 4 builds it.

    There, a tokenizer of the sentencepiece family (Mistral, Llama) puts its space mark ahead of every piece of text; in
    transformers 5 it leaves it out where the piece begins with a space.
    """
    if tokenizer not in _OFFICIAL:
        if not getattr(tokenizer, "is_fast", False):
            raise ConfigError(
                f"the tokenizer {tokenizer.name_or_path!r} has no tokenizer.json (it is not a 'fast' one)"
            )
        rules = json.loads(tokenizer.backend_tokenizer.to_str())
        rules |= {"truncation": None, "padding": None}
        spaces = rules["pre_tokenizer"] or {}
        if spaces.get("type") == "Metaspace" and spaces.get("prepend_scheme") == "always":
            mark = spaces["replacement"]
            marking = [
                {"type": "Prepend", "prepend": mark},
                {"type": "Replace", "pattern": {"String": " "}, "content": mark},
            ]
            before = [rules["normalizer"]] if rules["normalizer"] else []
            rules |= {"normalizer": {"type": "Sequence", "normalizers": [*before, *marking]}, "pre_tokenizer": None}
        _OFFICIAL[tokenizer] = Tokenizer.from_str(json.dumps(rules))
    return _OFFICIAL[tokenizer]


_OFFICIAL: WeakKeyDictionary[PreTrainedTokenizerBase, Tokenizer] = WeakKeyDictionary()


def tags_at_head(turns: Sequence[Turn], tag: str | None) -> list[Turn]:
    """In each text that has the tag, however often: once, ahead of the text (train.preprocess_multimodal)."""
    moved = []
    for turn in turns:
        if tag and tag in turn.text:
            turn = replace(turn, text=f"{tag}\n{turn.text.replace(tag, '').strip()}".strip())
        moved.append(turn)
    return moved


def chat(turns: Sequence[Turn], tokenizer: PreTrainedTokenizerBase, tag: str | None, name: str) -> Tokens:
    """A conversation through the chat template (train.preprocess). A first turn that is not a user's is dropped.

    The official code knows no system turn; one that leads stays.
    """
    lead = [turn for turn in turns[:1] if turn.role == "system"]
    talk = list(turns[len(lead) :])
    if talk and talk[0].role != "user":
        talk = talk[1:]
    if not talk or len(talk) % 2:
        raise DataError(f"sample {name!r} has {len(talk)} turns from the first question on; they must come in pairs")
    ids = multimodal_ids(_render([*lead, *talk], tokenizer, name), tokenizer, tag)
    learnt = [True] * len(ids)
    answered = 0
    for end in range(2, len(talk) + 1, 2):
        before = _render([*lead, *talk[: end - 1]], tokenizer, name, opening=True)
        asked = min(len(multimodal_ids(before, tokenizer, tag)), len(ids))
        learnt[answered:asked] = [False] * max(asked - answered, 0)
        answered = len(multimodal_ids(_render([*lead, *talk[:end]], tokenizer, name), tokenizer, tag))
    return ids, learnt


def caption(
    turns: Sequence[Turn], tokenizer: PreTrainedTokenizerBase, tag: str | None, name: str, *, template: bool
) -> Tokens:
    """Pretraining (train.preprocess_plain): a question with a medium and an answer, and nothing else.

    With the ``template`` (audio-visual branch) the question is the bare tag and only the answer is learnt; without
    (main) both texts stand as they are with a space between, and both are learnt.
    """
    if len(turns) != 2 or tag is None or tag not in turns[0].text:
        raise DataError(
            f"sample {name!r} cannot be used in pretraining: it takes a text with a medium and an answer, and this has "
            f"{len(turns)} turns and {tag or 'no medium'}"
        )
    if template:
        return chat([Turn("user", tag), Turn("assistant", turns[1].text)], tokenizer, tag, name)
    ids = multimodal_ids(f"{turns[0].text} {turns[1].text}", tokenizer, tag)
    return ids, [token != _PLACEHOLDER[tag] for token in ids]


def question(
    turns: Sequence[Turn], tokenizer: PreTrainedTokenizerBase, tag: str | None, name: str, *, keep: bool, system: bool
) -> list[int]:
    """A prompt (videollama2.mm_infer): the tag and a newline ahead of the first text, a newline even without a medium.

    A system turn of the sample takes the place of the official one.
    """
    lead = [turn for turn in turns[:1] if turn.role == "system"]
    talk = list(turns[len(lead) :])
    users = [index for index, turn in enumerate(talk) if turn.role == "user"]
    if not users:
        raise DataError(f"sample {name!r} has no user turn to answer")
    talk = talk[: users[-1] + 1]
    if not keep:
        if tag:
            talk = [replace(turn, text=turn.text.replace(f"{tag}\n", "").replace(tag, "")) for turn in talk]
        talk[0] = replace(talk[0], text=f"{tag or ''}\n{talk[0].text}")
    if system and not lead:
        lead = [Turn("system", SYSTEM_PROMPT)]
    return multimodal_ids(_render([*lead, *talk], tokenizer, name, opening=True), tokenizer, tag)


def _render(turns: Sequence[Turn], tokenizer: PreTrainedTokenizerBase, name: str, *, opening: bool = False) -> str:
    messages = [{"role": turn.role, "content": turn.text} for turn in turns]
    try:
        return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=opening)
    except TemplateError as error:
        roles = ", ".join(turn.role for turn in turns)
        hint = "; protocol.system_prompt=never leaves the system turn out" if turns[0].text == SYSTEM_PROMPT else ""
        raise DataError(f"sample {name!r}: the chat template refuses {roles}: {error}{hint}") from error
