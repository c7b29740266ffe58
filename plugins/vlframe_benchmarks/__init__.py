"""Benchmarks over any data set of questions: multiple choice, exact match, and graded free text."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import vlframe

vlframe_api = 1

THOUGHT = ("<think>", "</think>")  # the text between them is not part of the answer


@dataclass
class MultipleChoiceParams:
    dataset: Any  # the questions: a data set whose samples have options, and an answer (a letter or an option's text)
    prompt: str = (
        "letters"  # letters: list the options by letter below a question without them; question: ask it unchanged
    )
    # strict: one letter, or one option's text; lenient: also wrapped, after reasoning, as ordinals, in other languages;
    # neither guesses
    parser: str = "strict"
    reasoning: list[str] | None = field(default_factory=lambda: list(THOUGHT))  # thought markers; null: keep thoughts
    max_new_tokens: int = 16


@dataclass
class ExactMatchParams:
    dataset: Any  # the questions: a data set whose samples have an answer, or end with the assistant's turn
    reasoning: list[str] | None = field(default_factory=lambda: list(THOUGHT))  # thought markers; null: keep thoughts
    max_new_tokens: int = 64


@dataclass
class FreeTextParams:
    dataset: Any  # the questions: a data set whose samples have answers, or end with the assistant's turn
    # token_f1, exact_match, rouge_l, bleu; the first is the primary one
    metrics: list[str] = field(default_factory=lambda: ["token_f1", "exact_match", "rouge_l", "bleu"])
    reasoning: list[str] | None = field(default_factory=lambda: list(THOUGHT))  # thought markers; null: keep thoughts
    max_new_tokens: int = 64


@vlframe.hookimpl
def vlframe_components() -> Iterator[vlframe.Component]:
    yield vlframe.Component(
        "benchmark",
        "multiple_choice",
        "vlframe_benchmarks.multiple_choice:MultipleChoice",
        MultipleChoiceParams,
        "questions with options; the answer is read as one letter or one option's text, never guessed",
    )
    yield vlframe.Component(
        "benchmark",
        "exact_match",
        "vlframe_benchmarks.exact_match:ExactMatch",
        ExactMatchParams,
        "questions whose answer must match an expected text, ignoring case, spaces and a final period",
    )
    yield vlframe.Component(
        "benchmark",
        "free_text",
        "vlframe_benchmarks.free_text:FreeText",
        FreeTextParams,
        "questions answered in free text, graded against references: token F1, exact match, ROUGE-L, BLEU",
    )


@vlframe.hookimpl
def vlframe_conf() -> Path:
    """Return presets of benchmarks that read a question file."""
    return Path(__file__).parent / "conf"
