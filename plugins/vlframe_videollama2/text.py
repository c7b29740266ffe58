"""Convert a conversation to tokens as the official code does (videollama2/train.py, mm_utils.py, __init__.py).

Supervision is found by tokenising prefixes of the conversation and counting, so a token merged across the border of an
answer is not learnt, while text that a template writes after an answer (the newline of ChatML) is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from jinja2 import TemplateError

from vlframe import PLACEHOLDERS, TAGS, DataError, Turn, transformers4_tokenizer

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
    """Tokenise the pieces between the tags separately (mm_utils.tokenizer_multimodal_token).

    Tags other than ``tag`` are plain text.
    """
    pieces = text.split(tag) if tag else [text]
    ids: list[int] = []
    for number, piece in enumerate(pieces):
        if number:
            ids.append(_PLACEHOLDER[str(tag)])
        ids += transformers4_tokenizer(tokenizer).encode(piece, add_special_tokens=False).ids
    return ids


def tags_at_head(turns: Sequence[Turn], tag: str | None) -> list[Turn]:
    """Put the tag once before each text that has it, however often (train.preprocess_multimodal)."""
    moved = []
    for turn in turns:
        if tag and tag in turn.text:
            turn = replace(turn, text=f"{tag}\n{turn.text.replace(tag, '').strip()}".strip())
        moved.append(turn)
    return moved


def chat(turns: Sequence[Turn], tokenizer: PreTrainedTokenizerBase, tag: str | None, name: str) -> Tokens:
    """Tokenise a conversation with the chat template (train.preprocess). A first turn that is not a user's is dropped.

    The official code has no system turn; one at the beginning is kept.
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
    """Tokenise for pretraining (train.preprocess_plain): only a question with a medium and an answer.

    With the ``template`` (audio-visual branch) the question is just the tag and only the answer is learnt; without
    (main) both texts are used unchanged with a space between them, and both are learnt.
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
    """Tokenise a prompt (videollama2.mm_infer): tag and newline before the first text; without a medium, the newline.

    A system turn of the sample replaces the official one.
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
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=opening))
    except TemplateError as error:
        roles = ", ".join(turn.role for turn in turns)
        hint = "; processor.system_prompt=never leaves the system turn out" if turns[0].text == SYSTEM_PROMPT else ""
        raise DataError(f"sample {name!r}: the chat template refuses {roles}: {error}{hint}") from error
