"""Convert a conversation to text and tokens as the official code does (video_conversation.py, train/train.py)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vlframe import MEDIUM, PLACEHOLDERS, DataError, check_media, transformers4_tokenizer
from vlframe_videochatgpt.settings import END, PATCH, START

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Talk = Sequence[tuple[str, str]]  # role (user, assistant) and text


@dataclass(frozen=True)
class Conversation:
    """The layout of a conversation: ``between`` follows a question, ``after`` an answer."""

    system: str
    user: str
    assistant: str
    between: str
    after: str
    example: tuple[tuple[str, str], ...] = ()  # turns that precede every conversation

    def written(self, system: str, talk: Talk, *, opening: bool = True) -> str:
        """Return the text; with ``opening``, and after a question, with the beginning of its answer."""
        parts = [system, self.between]
        turns = [*self.example, *talk]
        for role, words in turns:
            name, closing = (self.user, self.between) if role == "user" else (self.assistant, self.after)
            parts.append(f"{name}: {words}{closing}")
        if opening and turns and turns[-1][0] == "user":
            parts.append(f"{self.assistant}:")
        return "".join(parts)


CONVERSATIONS = {
    "video-chatgpt_v1": Conversation(
        "You are Video-ChatGPT, a large vision-language assistant. You are able to understand the video content that "
        "the user provides, and assist the user with a variety of tasks using natural language."
        "Follow the instructions carefully and explain your answers in detail based on the provided video.",
        "USER", "ASSISTANT", " ", "</s>",
    ),
    "vicuna_v1_1": Conversation(
        "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, "
        "detailed, and polite answers to the user's questions.",
        "USER", "ASSISTANT", " ", "</s>",
    ),
    "default": Conversation(
        "A chat between a curious human and an artificial intelligence assistant. The assistant gives helpful, "
        "detailed, and polite answers to the human's questions.",
        "Human", "Assistant", "###", "###",
        (
            ("user", "What are the key differences between renewable and non-renewable energy sources?"),
            ("assistant", "Renewable energy sources are those that can be replenished naturally.\n"),
        ),
    ),
}  # fmt: skip


class Pieces:
    """Tokenises text piece by piece between special tokens, as the slow tokenizer of transformers 4.28 does.

    Media take their kinds from ``kinds``, in the order of their marks. With ``strip``, white space next to an added
    token is dropped.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, kinds: Sequence[str], strip: bool) -> None:
        self.tokenizer = tokenizer
        self.fast = transformers4_tokenizer(tokenizer)
        self.kinds = kinds
        self.strip = strip
        added = [START, PATCH, END, MEDIUM]
        special = [*added, *(token for token in tokenizer.all_special_tokens if token not in added)]
        self.border = re.compile("(" + "|".join(map(re.escape, sorted(special, key=len, reverse=True))) + ")")
        self.added = set(added)

    def ids(self, text: str, *, start: bool) -> list[int]:
        """Return token ids, with a placeholder for each medium; preceded by the BOS token if ``start``."""
        check_media(text, self.kinds)
        kinds = iter(self.kinds)
        found: list[int] = [self.tokenizer.bos_token_id] if start and self.tokenizer.bos_token_id is not None else []
        parts = self.border.split(text)  # text, special, text, ..., text
        for number, part in enumerate(parts):
            if number % 2 == 0:
                found += self._words(part, parts[number - 1 : number], parts[number + 1 : number + 2])
            elif part == MEDIUM:
                found += [self._id(START), PLACEHOLDERS[next(kinds)], self._id(END)]
            else:
                found.append(self._id(part))
        return found

    def count(self, text: str) -> int:
        """Return the number of tokens of a separate text, including BOS. A placeholder counts once."""
        start = self.tokenizer.bos_token_id is not None
        counted = Pieces.ids(self._any_kind(text), text, start=True)
        return len(counted) + (not start)

    def _any_kind(self, text: str) -> Pieces:
        return Pieces(self.tokenizer, ["video"] * text.count(MEDIUM), self.strip)

    def _words(self, text: str, before: Sequence[str], after: Sequence[str]) -> list[int]:
        if self.strip and self.added & {*before}:
            text = text.lstrip()
        if self.strip and self.added & {*after}:
            text = text.rstrip()
        return list(self.fast.encode(text, add_special_tokens=False).ids) if text else []

    def _id(self, token: str) -> int:
        number = self.tokenizer.convert_tokens_to_ids(token)
        assert isinstance(number, int)
        return number


def taught(
    conversation: Conversation, system: str, talk: Talk, pieces: Pieces, name: str
) -> tuple[list[int], list[bool]]:
    """Return the token ids of a conversation and which of them are learnt (train.py, preprocess_v1).

    Rounds are separated at ``</s>``, and the borders of answers are counted from the lengths of separately tokenised
    pieces. If these are inconsistent, the official code prints a warning and learns nothing of the sample: here that is
    a ``DataError``. A first turn that is not a user's is dropped.
    """
    if talk and talk[0][0] != "user":
        talk = talk[1:]
    if not talk or any(role != ("user", "assistant")[place % 2] for place, (role, _) in enumerate(talk)):
        raise DataError(f"sample {name!r} has the turns {', '.join(role for role, _ in talk) or '(none)'}; questions "
                        "and answers must take turns, a question first")  # fmt: skip
    text = conversation.written(system, talk, opening=False)
    ids = pieces.ids(text, start=True)
    supervised = [True] * len(ids)
    opening = f"{conversation.between}{conversation.assistant}: "
    done = 1
    supervised[:done] = [False] * done
    for spoken in text.split(conversation.after):
        parts = spoken.split(opening)
        if not spoken or len(parts) != 2:
            break
        asked = pieces.count(parts[0] + opening) - 2  # without BOS, and the space before the answer
        supervised[done : done + asked] = [False] * asked
        done += pieces.count(spoken)  # its BOS stands for the </s> after it
    supervised[done:] = [False] * len(supervised[done:])
    if done != len(ids):
        raise DataError(
            f"sample {name!r}: its rounds have {done} tokens one by one and {len(ids)} together, so that the official "
            "code would learn nothing of it; a text in it has </s> or ' ASSISTANT: ' in it, or its last turn is no "
            "answer. Take that out, or leave the processor out"
        )
    return ids, supervised
