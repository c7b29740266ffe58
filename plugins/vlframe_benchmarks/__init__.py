"""Benchmarks over any data set of questions: multiple choice, and exact match."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import vlframe


@dataclass
class MultipleChoiceParams:
    dataset: Any  # the questions: a data set whose samples have options, and an answer (a letter or an option's text)
    prompt: str = (
        "letters"  # letters: list the options by letter below a question that does not; question: ask it as is
    )
    max_new_tokens: int = 16


@dataclass
class ExactMatchParams:
    dataset: Any  # the questions: a data set whose samples have an answer, or end with the assistant's turn
    max_new_tokens: int = 64


@vlframe.hookimpl
def vlframe_components() -> Iterator[vlframe.Component]:
    yield vlframe.Component(
        "benchmark",
        "multiple_choice",
        "vlframe_benchmarks.multiple_choice:MultipleChoice",
        MultipleChoiceParams,
        "questions with options, the answer read strictly as one letter or one option's text",
    )
    yield vlframe.Component(
        "benchmark",
        "exact_match",
        "vlframe_benchmarks.exact_match:ExactMatch",
        ExactMatchParams,
        "questions whose answer must match the expected text but for case, spaces and a final period",
    )
