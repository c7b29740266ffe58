"""Questions with options, answered by letter or by an option's text."""

import re
from collections.abc import Sequence
from dataclasses import replace
from string import ascii_uppercase

from vlframe import ConfigError, DataError, Sample, Turn
from vlframe_benchmarks.choices import letters, match_text, parse_choice
from vlframe_benchmarks.lenient import parse_leniently
from vlframe_benchmarks.questions import check_length, question
from vlframe_benchmarks.reasoning import answer_of, check_marks

PARSERS = {"strict": parse_choice, "lenient": parse_leniently}
PROMPTS = ("letters", "question")
INSTRUCTION = "Answer with the option's letter from the given choices directly."


class MultipleChoice:
    """Multiple choice: ``samples`` have the letter as ``answer``, options without labels, and no reply.

    Every question is checked here, so that a bad one stops an evaluation before it starts. Raises ``DataError``.
    """

    def __init__(
        self,
        *,
        dataset: Sequence[Sample],
        prompt: str,
        parser: str,
        reasoning: Sequence[str] | None,
        max_new_tokens: int,
    ) -> None:
        check_marks("multiple_choice", reasoning)
        if parser not in PARSERS:
            raise ConfigError(
                f"benchmark 'multiple_choice' has no parser {parser!r}; it is 'strict' (one letter or one option's "
                "text) or 'lenient' (also wrapped, concluded, by ordinal, in other languages)"
            )
        if prompt not in PROMPTS:
            raise ConfigError(
                f"benchmark 'multiple_choice' has no prompt {prompt!r}; it is 'letters' (the options are listed by "
                "letter below the question) or 'question' (the question is asked as it stands)"
            )
        samples = [_labelled(dataset[index]) for index in range(len(dataset))]
        check_length("multiple_choice", samples, max_new_tokens)
        self.plain = {sample.id: sample for sample in samples}
        self.samples = [_with_options(sample) if prompt == "letters" else sample for sample in samples]
        self.by_letter = prompt == "letters"
        self.read, self.reasoning = PARSERS[parser], reasoning
        self.max_new_tokens = max_new_tokens

    def parse(self, text: str, sample: Sample) -> str | None:
        return self.read(answer_of(text, self.reasoning), sample.options)

    def candidates(self, sample: Sample) -> Sequence[str]:
        """Return the texts that a choice by likelihood compares: letters if options are listed by letter, or texts."""
        return list(letters(sample.options)) if self.by_letter else sample.options

    def rotated(self, sample: Sample) -> Sample | None:
        """Return the question with each option one place further, the last one first. None where it is asked as it
        stands: then it names no places, or names them itself."""
        plain = self.plain[sample.id]
        if sample.turns == plain.turns:
            return None
        options = (*plain.options[-1:], *plain.options[:-1])
        place = letters(options).index(plain.answer or "")
        answer = letters(options)[(place + 1) % len(options)]
        return _with_options(replace(plain, options=options, answer=answer))

    def correct(self, answer: str, sample: Sample) -> bool:
        return answer == sample.answer


def _labelled(sample: Sample) -> Sample:
    sample = question(sample)
    if sample.other_answers:
        raise DataError(
            f"sample {sample.id!r} has {len(sample.answers)} answers; multiple choice has one right option: keep it, "
            "or ask with benchmark=exact_match, which takes any of them"
        )
    if not 2 <= len(sample.options) <= len(ascii_uppercase):
        raise DataError(
            f"sample {sample.id!r} has {len(sample.options)} options; multiple choice needs 2 to {len(ascii_uppercase)}"
        )
    options = _without_labels(sample.options)
    if not all(option.strip() for option in options):
        raise DataError(f"sample {sample.id!r} has an option without text: {options!r}")
    answer = parse_choice(sample.answer or "", options)
    if answer is None:
        ambiguous = match_text(sample.answer or "", options)
        reason = "names two of them, one by letter and one by text" if ambiguous else "is none of them, or not just one"
        raise DataError(
            f"sample {sample.id!r}: the answer {sample.answer!r} {reason}; options are {', '.join(options)}, and the "
            f"answer is one of them or a letter from {letters(options)}"
        )
    return replace(sample, options=options, answer=answer)


def _without_labels(options: tuple[str, ...]) -> tuple[str, ...]:
    """Turn ``("A. red", "B. blue")`` into ``("red", "blue")``; unchanged unless every option has its own letter."""
    pairs = zip(ascii_uppercase, options, strict=False)
    matches = [re.fullmatch(rf"\s*(?:\({letter}\)|{letter}[.):])\s*(\S.*)", option) for letter, option in pairs]
    return tuple(match[1] for match in matches if match) if all(matches) else options


def _with_options(sample: Sample) -> Sample:
    text = sample.turns[-1].text
    pairs = list(zip(letters(sample.options), sample.options, strict=True))
    if all(re.search(rf"(?<!\w){letter}[.):]\s*{re.escape(option)}", text) for letter, option in pairs):
        return sample
    listed = "\n".join(f"({letter}) {option}" for letter, option in pairs)
    asked = Turn("user", f"{text}\nOptions:\n{listed}\n{INSTRUCTION}")
    return replace(sample, turns=(*sample.turns[:-1], asked))
