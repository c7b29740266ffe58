"""Questions whose answer must be the expected text."""

from collections.abc import Sequence

from vlframe import DataError, Sample
from vlframe_benchmarks.questions import check_length, question


class ExactMatch:
    """Texts are equal when they are so in lower case, with single spaces, without one final period."""

    def __init__(self, *, dataset: Sequence[Sample], max_new_tokens: int) -> None:
        self.samples = [_checked(dataset[index]) for index in range(len(dataset))]
        check_length("exact_match", self.samples, max_new_tokens)
        self.max_new_tokens = max_new_tokens

    def parse(self, text: str, sample: Sample) -> str | None:
        """The text; for a sample with options, the option that it is. An empty text or no option is no answer."""
        if not normalise(text):
            return None
        if not sample.options:
            return text.strip()
        return next((option for option in sample.options if normalise(option) == normalise(text)), None)

    def correct(self, answer: str, sample: Sample) -> bool:
        return normalise(answer) == normalise(sample.answer or "")


def normalise(text: str) -> str:
    return " ".join(text.casefold().split()).removesuffix(".").rstrip()


def _checked(sample: Sample) -> Sample:
    sample = question(sample)
    if sample.options and normalise(sample.answer or "") not in map(normalise, sample.options):
        raise DataError(
            f"sample {sample.id!r}: the answer {sample.answer!r} is not among the options {', '.join(sample.options)}"
        )
    return sample
