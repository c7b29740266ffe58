"""Turn a conversation into a question, separating the expected reply."""

from collections.abc import Sequence
from dataclasses import replace

from vlframe import ConfigError, DataError, Sample


def question(sample: Sample) -> Sample:
    """Return ``sample`` up to its last user turn. Without an ``answer``, the reply to that turn is the answer."""
    turns, answer = sample.turns, sample.answer
    if turns and turns[-1].role == "assistant":
        reply = turns[-1].text
        turns = turns[:-1]
        answer = reply if answer is None else answer
    if not turns or turns[-1].role != "user":
        raise DataError(f"sample {sample.id!r} asks nothing: it has no user turn")
    if not (answer or "").strip() or not all(other.strip() for other in sample.other_answers):
        raise DataError(f"sample {sample.id!r} has no answer to compare with: give it 'answer', or an assistant turn")
    return replace(sample, turns=turns, answer=answer)


def check_length(benchmark: str, samples: Sequence[Sample], max_new_tokens: int) -> None:
    if max_new_tokens < 1:
        raise ConfigError(f"benchmark {benchmark!r}: max_new_tokens is {max_new_tokens}; an answer needs at least 1")
    if not samples:
        raise DataError(f"benchmark {benchmark!r} has no questions: its data set is empty")
