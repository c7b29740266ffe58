"""Convert rows of the official files to samples. Errors name the row."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from vlframe import DataError, Media, Sample, Turn, as_words, media_tags, row_fields, row_text
from vlframe_videollama.settings import CAPTION

WEBVID = ("videoid", "page_dir", "name")
ROLES = {"human": "user", "gpt": "assistant"}
PUNCTUATION = re.compile(r"([.!\"()*#:;~])")
MOST_WORDS = 50


def plain(words: str) -> str:
    """Return a caption in lower case, without punctuation, at most 50 words (BlipCaptionProcessor.pre_caption)."""
    words = re.sub(r"\s{2,}", " ", PUNCTUATION.sub(" ", words.strip().lower())).rstrip("\n").strip(" ")
    return " ".join(words.split(" ")[:MOST_WORDS])


def caption(name: str, kind: str, path: Path, words: str, where: str) -> Sample:
    if not words:
        raise DataError(f"{where}: nothing is left of the caption without its punctuation")
    turns = (Turn("user", f"<{kind}>"), Turn("assistant", words))
    return Sample(name, turns, (Media(kind, path),), words, category=CAPTION)


def conversation(name: str, path: Path, said: Any, where: str) -> Sample:
    """Convert LLaVA's turns; only ``<image>`` is a tag in them."""
    if not isinstance(said, list) or not said:
        raise DataError(f"{where}: 'conversations' is a list of turns, not {said!r}")
    turns = []
    for turn in said:
        role, words = row_fields(turn, ("from", "value"), where)
        if role not in ROLES or not isinstance(words, str):
            raise DataError(f"{where}: a turn is from {' or '.join(ROLES)}, with a text, not {role!r} with {words!r}")
        tagged = "<image>".join(as_words(piece) for piece in words.split("<image>"))
        turns.append(Turn("user", tagged) if role == "human" else Turn("assistant", words))
    tags = media_tags(turns)
    if len(tags) != 1 or turns[-1].role != "assistant":
        raise DataError(f"{where}: the turns have one <image> and end with an answer, not {len(tags)} of it")
    return Sample(name, tuple(turns), (Media("image", path),), turns[-1].text)


def questions(name: str, path: Path, said: Any, where: str) -> Sample:
    """Convert VideoChat's questions and answers."""
    if not isinstance(said, list) or not said:
        raise DataError(f"{where}: 'QA' is a list of questions and answers, not {said!r}")
    turns: list[Turn] = []
    for pair in said:
        asked, told = row_fields(pair, ("q", "a"), where, also=("i",))
        asked, told = as_words(row_text(asked, "q", where)), row_text(told, "a", where)
        turns += [Turn("user", asked if turns else f"<video>\n{asked}"), Turn("assistant", told)]
    return Sample(name, tuple(turns), (Media("video", path),), turns[-1].text)
