"""A conversation as text, as the official code writes it for each of its three language models.

Source: dataset/it_dataset.py, it_dataset_mistral.py, it_dataset_phi.py and models/*/videochat2_it_*.py (conversations
to learn), models/*/videochat2_pt_*.py and prompts/ (captions), conversation.py and demo/demo_*.ipynb (questions).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from vlframe import MEDIUM

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


class Said(NamedTuple):
    """A turn: its media (each with what is said about its frames), then its words."""

    role: str
    shown: tuple[str, ...]
    words: str


class Piece(NamedTuple):
    """A span of a conversation's text, and whether it is learnt."""

    text: str
    learnt: bool = False


class Template(Protocol):
    """The texts of one model. ``end`` follows a caption; ``stops`` end an answer, if no token of its own does."""

    end: str
    stops: tuple[str, ...]

    def taught(self, lead: str, talk: Sequence[Said]) -> list[Piece]: ...
    def question(self, lead: str, talk: Sequence[Said]) -> str: ...
    def caption(self, framed: str, prompt: str) -> str: ...


class Vicuna:
    """``###Human: … ###Assistant: … ###``. The names and marks of who speaks are learnt, except around media."""

    end: str = "###"
    stops: tuple[str, ...] = ("###",)

    def taught(self, lead: str, talk: Sequence[Said]) -> list[Piece]:
        pieces = [Piece(lead)] if lead else []
        for role, shown, words in talk:
            pieces += [Piece(f"{_blank(pieces)}###Human: {medium}") for medium in shown]
            if role == "assistant":
                pieces.append(Piece(f"{_blank(pieces)}###Assistant: {words}", True))
            elif words:
                pieces += [Piece(f"{_blank(pieces)}###Human:", True), Piece(f" {words}")]
        return [*pieces, Piece(" ###", True)]

    def question(self, lead: str, talk: Sequence[Said]) -> str:
        text = f"{lead}###"
        for role, shown, words in talk:
            text += "".join(f"Human: {medium}\n###" for medium in shown)
            if role == "assistant":
                text += f"Assistant: {words}###"
            elif words:
                text += f"Human: {words}\n###"
        return f"{text}Assistant:"

    def caption(self, framed: str, prompt: str) -> str:
        return f"###Human: {framed} {prompt} ###Assistant: "


class Mistral:
    """``[INST] … [/INST] … </s>``; only answers and their ends are learnt."""

    end: str = "</s>"
    stops: tuple[str, ...] = ()

    def taught(self, lead: str, talk: Sequence[Said]) -> list[Piece]:
        pieces = [Piece(lead.lstrip())] if lead else []
        for role, shown, words in talk:
            pieces += [Piece(f"{_blank(pieces)}[INST] {medium} [/INST]") for medium in shown]
            if role == "assistant":
                pieces.append(Piece(f"{_blank(pieces)}{words} </s>", True))
            elif words:
                pieces.append(Piece(f"{_blank(pieces)}[INST] {words} [/INST]"))
        return pieces

    def question(self, lead: str, talk: Sequence[Said]) -> str:
        text = lead
        for role, shown, words in talk:
            text += "".join(f"[INST] {medium} [/INST] " for medium in shown)
            if role == "assistant":
                text += f"[/INST] {words}</s> "
            elif words:
                text += f"[INST] {words} "
        return f"{text}[/INST]"

    def caption(self, framed: str, prompt: str) -> str:
        return f"[INST] {framed} {prompt} [/INST]"


class Phi3:
    """``<|user|> … <|end|> <|assistant|> … <|end|>``; media stand before the words of their turn. Only answers and
    their ends are learnt."""

    end: str = "<|end|>"
    stops: tuple[str, ...] = ()

    def taught(self, lead: str, talk: Sequence[Said]) -> list[Piece]:
        pieces = [Piece(f"<|system|>\n{lead}<|end|>\n")] if lead else []
        for role, shown, words in talk:
            if role == "assistant":
                pieces.append(Piece(f"{words.strip()}<|end|>\n", True))
            else:
                media = "".join(f"{medium}\n" for medium in shown)
                pieces.append(Piece(f"<|user|>\n{media}{words.strip()}<|end|>\n<|assistant|>\n"))
        if pieces and pieces[-1].learnt:  # the line break after the last answer is stripped
            pieces[-1] = Piece(pieces[-1].text.removesuffix("\n"), True)
        return pieces

    def question(self, lead: str, talk: Sequence[Said]) -> str:
        text = lead
        for role, shown, words in talk:
            if role == "assistant":
                text += f"<|end|>\n<|assistant|>{words}<|end|>"
            else:
                # In the demo, a line break follows a medium and its seconds, and a space a medium alone.
                media = "".join(f"{medium}{' ' if medium.endswith('>') else chr(10)}" for medium in shown)
                text += f"<|user|>\n{media}{words}"
        return f"{text}<|end|>\n<|assistant|>"

    def caption(self, framed: str, prompt: str) -> str:
        return f"<|user|>\n{framed} {prompt}<|end|>\n<|assistant|>\n"


TEMPLATES: dict[str, Template] = {"vicuna": Vicuna(), "mistral": Mistral(), "phi3": Phi3()}


def framed(kind: str, seconds: Sequence[float] | None = None) -> str:
    """Return a medium between its tags; with ``seconds``, the sentence about a clip's frames after it."""
    medium = f"<{kind.title()}>{MEDIUM}</{kind.title()}>"
    if seconds is None:
        return medium
    times = ", ".join(str(round(second, 1)) for second in seconds)
    return f"{medium} The video contains {len(seconds)} frames sampled at {times} seconds."


def _blank(pieces: Sequence[Piece]) -> str:
    """Return the space before a piece that is not the first."""
    return " " if pieces else ""
