"""Questions whose answer must be the expected text, or one of several."""

from collections.abc import Sequence

from vlframe import DataError, Sample
from vlframe_benchmarks.questions import check_length, question
from vlframe_benchmarks.reasoning import answer_of, check_marks


class ExactMatch:
    """Exact match of texts, ignoring case, repeated spaces and one final period."""

    def __init__(self, *, dataset: Sequence[Sample], reasoning: Sequence[str] | None, max_new_tokens: int) -> None:
        check_marks("exact_match", reasoning)
        self.reasoning = reasoning
        self.samples = [_checked(dataset[index]) for index in range(len(dataset))]
        check_length("exact_match", self.samples, max_new_tokens)
        self.max_new_tokens = max_new_tokens

    def parse(self, text: str, sample: Sample) -> str | None:
        """Return the text, or for a sample with options the matching option; None for an empty text or no option."""
        text = answer_of(text, self.reasoning)
        if not normalise(text):
            return None
        if not sample.options:
            return text.strip()
        return next((option for option in sample.options if normalise(option) == normalise(text)), None)

    def correct(self, answer: str, sample: Sample) -> bool:
        return normalise(answer) in map(normalise, sample.answers)


def normalise(text: str) -> str:
    return " ".join(text.casefold().split()).removesuffix(".").rstrip()


def _checked(sample: Sample) -> Sample:
    sample = question(sample)
    options = {normalise(option) for option in sample.options}
    for answer in sample.answers if options else ():
        if normalise(answer) not in options:
            raise DataError(
                f"sample {sample.id!r}: the answer {answer!r} is not among the options {', '.join(sample.options)}"
            )
    return sample
