"""Convert a conversation to text and tokens as the official code does.

Source: conversation.py (questions), dataset/it_dataset.py and models/videochat_it.py (training conversations),
models/videochat_pt.py and prompts/ (captions).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from vlframe import MEDIUM, TextParts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MARK = "###"
HUMAN, ASSISTANT = f"{MARK}Human:", f"{MARK}Assistant:"
CAPTION_PROMPTS = {  # prompts/concise_description.txt, prompts/concise_image_description.txt
    "video": (
        "Describe the following video concisely.",
        "Provide a brief description of the given video clip.",
        "Offer a succinct explanation of the footage presented.",
        "Summarize the visual content of the following video.",
        "Give a short and clear explanation of the subsequent video clip.",
        "Share a concise interpretation of the video provided.",
        "Present a compact description of the clip's key features.",
        "Relay a brief, clear account of the video shown.",
        "Render a clear and concise summary of the video below.",
        "Write a terse but informative summary of the following video clip.",
        "Create a compact narrative representing the video presented.",
    ),
    "image": (
        "Describe the following image concisely.",
        "Provide a brief description of the given image.",
        "Offer a succinct explanation of the picture presented.",
        "Summarize the visual content of the following image.",
        "Give a short and clear explanation of the subsequent image.",
        "Share a concise interpretation of the image provided.",
        "Present a compact description of the photo's key features.",
        "Relay a brief, clear account of the picture shown.",
        "Render a clear and concise summary of the photo below.",
        "Write a terse but informative summary of the following picture.",
        "Create a compact narrative representing the image presented.",
    ),
}
Tokens = tuple[list[int], list[bool]]  # ids, and which are learnt


class Said(NamedTuple):
    """A message. ``shown`` marks a medium with its time stamps, as opposed to a question."""

    role: str
    text: str
    shown: bool = False


class Piece(NamedTuple):
    """A piece of a conversation's text, and whether it is learnt."""

    text: str
    learnt: bool = False


def framed(kind: str) -> str:
    """Return a medium between its tags: ``<Video>…</Video>``, ``<Image>…</Image>``."""
    return f"<{kind.title()}>{MEDIUM}</{kind.title()}>"


def stamped(seconds: Sequence[float]) -> str:
    """Return the sentence about a clip's frames."""
    times = ", ".join(str(round(second, 1)) for second in seconds)
    return f"The video contains {len(seconds)} frames sampled at {times} seconds."


def question(system: str, talk: Sequence[Said]) -> str:
    """Format a conversation up to the beginning of the next answer."""
    said = "".join(
        f"Assistant: {text}{MARK}" if role == "assistant" else f"Human: {text}\n{MARK}" for role, text, _ in talk
    )
    return f"{system}{MARK}{said}Assistant:"


def taught(system: str, talk: Sequence[Said], *, names: bool) -> list[Piece]:
    """Format a training conversation. The space after a text belongs to the marker that follows, as in its token.

    Answers and the marker after each are learnt, and with ``names`` the names of the speakers. Media, their time stamps
    and the text before the first question are not.
    """
    pieces, space, after_answer = [Piece(system.rstrip())], " " if system.strip() else "", False
    for role, text, shown in talk:
        if role == "assistant":
            pieces += [Piece(f"{space}{ASSISTANT}", names), Piece(f" {text}", True)]
        elif shown:
            pieces += [Piece(f"{space}{MARK}", after_answer), Piece(f"Human: {text.rstrip()}")]
        else:
            pieces += [Piece(f"{space}{MARK}", names or after_answer), Piece("Human:", names), Piece(f" {text}")]
        space, after_answer = " ", role == "assistant"
    return [*pieces, Piece(f"{space}{MARK}", True)]


def caption_question(kind: str, prompt: str) -> str:
    """Format the text before a caption."""
    return f"{HUMAN} {framed(kind)} {prompt} {ASSISTANT} "


class Tokeniser:
    """Tokenises pieces of text, as the slow tokenizer of transformers 4.28."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.text = TextParts(tokenizer)
        self.start = self.text.start

    def tokens(self, pieces: Sequence[Piece], kinds: Sequence[str], *, start: bool = True) -> Tokens:
        """Return token ids, with a placeholder for each medium and preceded by BOS if ``start``, and which are learnt:
        those that contain a character of a learnt piece.
        """
        text = "".join(piece.text for piece in pieces)
        learnt = b"".join(bytes([piece.learnt]) * len(piece.text) for piece in pieces)
        ids = list(self.start) if start else []
        supervised = [False] * len(ids)
        for part in self.text.parts(text, kinds):
            ids += part.ids
            for first, after in part.spans:
                # A space that a tokenizer trims from its offsets leaves an empty span after it.
                begin = first if after > first else max(first - 1, part.at)
                supervised.append(not part.is_medium and 1 in learnt[begin:after])
        return ids, supervised
