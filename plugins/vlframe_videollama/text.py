"""Convert a conversation to text and tokens as the official code does.

Source: conversation/conversation_video.py (questions), datasets/datasets/video_instruct_dataset.py and
llava_instruct_dataset.py (conversations), models/video_llama.py (captions).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count, takewhile
from typing import TYPE_CHECKING

from vlframe import MEDIUM, DataError, TextParts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MARK = "###"
NAMES = {"user": "Human", "assistant": "Assistant"}
FRAMED = {"video": f"<Video>{MEDIUM}</Video>", "image": f"<Image>{MEDIUM}</Image>"}
HEARD = f"Close your eyes, open your ears and you imagine only based on the sound that: {MEDIUM}."
# For a clip with its sound. The many spaces come from a text that continues on the next line of the official code.
HEARD_AND_SEEN = (
    f"{HEARD}{' ' * 17}Close your ears, open your eyes and you see that {FRAMED['video']}.{' ' * 18}"
    "Now answer my question based on what you have just seen and heard."
)
CAPTION_PROMPTS = (  # prompts/alignment_image.txt
    "Describe this image in detail.",
    "Take a look at this image and describe what you notice.",
    "Please provide a detailed description of the picture.",
    "Could you describe the contents of this image for me?",
)
Talk = Sequence[tuple[str, str]]  # role (user, assistant) and text
Tokens = tuple[list[int], list[bool]]  # ids, and which are learnt


def stamped(seconds: Sequence[float]) -> str:
    """Return the sentence about a clip's frames."""
    times = ", ".join(str(round(second, 1)) for second in seconds)
    return f"The video contains {len(seconds)} frames sampled at {times} seconds. "


def vicuna_question(system: str, talk: Talk, *, line_breaks: bool) -> str:
    """Format a conversation up to the beginning of the next answer."""
    if line_breaks:
        return f"{system}\n\n" + "".join(vicuna_turns(talk)) + f"{MARK}{NAMES['assistant']}:"
    return system + MARK + "".join(f"{NAMES[role]}: {text}{MARK}" for role, text in talk) + f"{NAMES['assistant']}:"


def vicuna_turns(talk: Talk) -> list[str]:
    """Format the turns like the training texts."""
    return [f"{MARK}{NAMES[role]}: {text}\n" for role, text in talk]


def llama_2(system: str, talk: Talk) -> str:
    """Format a conversation of alternating questions and answers."""
    text = ""
    for number, (role, words) in enumerate(talk):
        if role == "user":
            first = f"<<SYS>>\n{system}\n<</SYS>>\n\n" if not number else ""
            text += f"{'<s>' if number else ''}[INST] {first}{words} [/INST]"
        else:
            text += f" {words} </s>"
    return text


class Pieces:
    """Counts and tokenises pieces of text, as the slow tokenizer of transformers 4.28."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.text = TextParts(tokenizer)
        self.unknown = tokenizer.unk_token_id

    def ids(self, text: str, kinds: Sequence[str], *, start: bool = True) -> list[int]:
        """Return token ids, with a placeholder for each medium; preceded by the BOS token if ``start``."""
        found = [token for part in self.text.parts(text, kinds) for token in part.ids]
        return [*self.text.start, *found] if start else found

    def length(self, text: str) -> int:
        """Return the number of tokens of a separate text, including BOS. A placeholder counts once."""
        return len(self.ids(text, ["video"] * text.count(MEDIUM)))

    def known(self, text: str) -> int:
        """Return the same without unknown tokens, which the official code treats as padding."""
        ids = self.ids(text, ["video"] * text.count(MEDIUM))
        return sum(token != self.unknown for token in ids)


def taught_vicuna(system: str, talk: Talk, kinds: Sequence[str], pieces: Pieces, learnt: int) -> Tokens:
    """Return the token ids of a conversation and which of them are learnt (preprocess, _mask_targets).

    The borders of turns are counted from the lengths of separately tokenised turns, each with its own BOS: it makes up
    for the marker, which is two tokens within a text and one at its beginning. The first ``learnt`` tokens of a
    question are learnt, and so are the names of answers.
    """
    header, turns = f"{system}\n\n", vicuna_turns(talk)
    ids = pieces.ids(header + "".join(turns) + MARK, kinds)
    supervised = [True] * len(ids)
    at = pieces.known(header)
    _hide(supervised, 0, at)
    for (role, _), turn in zip(talk, turns, strict=True):
        after = at + pieces.known(turn)
        if role == "user":
            _hide(supervised, at + learnt, after)
        at = after
    return ids, supervised


def taught_llama_2(system: str, talk: Talk, kinds: Sequence[str], pieces: Pieces, name: str) -> Tokens:
    """Do the same for Llama 2's texts (preprocess_for_llama_v2). DataError unless questions and answers alternate.

    A first turn that is not a user's is dropped.
    """
    talk = talk[1:] if talk and talk[0][0] != "user" else talk
    if not talk or any(role != ("user", "assistant")[place % 2] for place, (role, _) in enumerate(talk)):
        raise DataError(f"sample {name!r} has the turns {', '.join(role for role, _ in talk) or '(none)'}; questions "
                        "and answers must take turns, a question first")  # fmt: skip
    text, opening = llama_2(system, talk), "[/INST] "
    ids = pieces.ids(text, kinds)
    supervised = [True] * len(ids)
    _hide(supervised, 0, 1)
    at = 1
    for spoken in takewhile(bool, text.split("</s>")):
        parts = spoken.split(opening)
        if len(parts) != 2:
            break
        _hide(supervised, at, at + pieces.length(parts[0] + opening) - 2)
        at += pieces.length(spoken)
    _hide(supervised, at, len(ids))
    return ids, supervised


def caption(kind: str, prompt: str | None, words: str, longest: int, template: str, pieces: Pieces) -> Tokens:
    """Tokenise a medium and its caption, which is learnt with its end; ``prompt`` None: only these and a line break."""
    if prompt is None:
        before, end = MEDIUM, "\n"
    elif template == "vicuna":
        before, end = f"{MARK}Human: {FRAMED[kind]} {prompt} {MARK}Assistant: ", MARK
    else:
        before, end = f"[INST] <<SYS>>\n \n<</SYS>>\n\n{FRAMED[kind]} {prompt} [/INST] ", "</s>"
    asked = pieces.ids(before, [kind])
    told = pieces.ids(words + end, [], start=False)[:longest]
    return [*asked, *told], [*[False] * len(asked), *[True] * len(told)]


def _hide(supervised: list[bool], begin: int, end: int) -> None:
    for place in takewhile(lambda place: place < min(end, len(supervised)), count(begin)):
        supervised[place] = False
