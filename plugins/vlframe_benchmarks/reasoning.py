"""Separate an answer from the thoughts before it."""

from collections.abc import Sequence

from vlframe import ConfigError


def check_marks(benchmark: str, marks: Sequence[str] | None) -> None:
    if marks is not None and (len(marks) != 2 or not all(marks)):
        raise ConfigError(
            f"benchmark {benchmark!r}: reasoning is {list(marks)}; it is the two marks around a thought, like "
            "[<think>,</think>], or null to take texts whole"
        )


def answer_of(text: str, marks: Sequence[str] | None) -> str:
    """Return the text after the last thought; "" for a thought that never ends, since there is no answer then."""
    if marks is None:
        return text
    opening, closing = marks
    _, found, answer = text.rpartition(closing)
    if found:
        return answer
    return "" if text.lstrip().startswith(opening) else text
