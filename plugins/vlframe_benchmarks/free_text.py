"""Questions answered in free text, graded by similarity to the references."""

from collections.abc import Callable, Sequence

from vlframe import ConfigError, Metric, Sample
from vlframe_benchmarks.questions import check_length, question
from vlframe_benchmarks.reasoning import answer_of, check_marks
from vlframe_benchmarks.text_metrics import bleu, bleu_counts, exact_match, rouge_l, token_f1, tokens

Graded = bool | float | tuple[float, ...]
# Metrics by name, with the function that scores an answer.
METRICS: dict[str, tuple[Metric, Callable[[str, Sequence[str]], Graded]]] = {
    "token_f1": (Metric("token_f1"), token_f1),
    "exact_match": (Metric("exact_match", bool), exact_match),
    "rouge_l": (Metric("rouge_l"), rouge_l),
    "bleu": (Metric("bleu", of_sums=bleu), lambda answer, wanted: bleu_counts(tokens(answer), [*map(tokens, wanted)])),
}


class FreeText:
    """Free-text answers, scored against the nearest of each question's references."""

    def __init__(
        self,
        *,
        dataset: Sequence[Sample],
        metrics: Sequence[str],
        reasoning: Sequence[str] | None,
        max_new_tokens: int,
    ) -> None:
        check_marks("free_text", reasoning)
        unknown = [name for name in metrics if name not in METRICS]
        if unknown or not metrics or len(set(metrics)) < len(metrics):
            raise ConfigError(
                f"benchmark 'free_text': metrics is {list(metrics)}; it names some of {', '.join(METRICS)}, each once, "
                f"the primary one first"
            )
        self.metrics = [METRICS[name][0] for name in metrics]
        self.reasoning = reasoning
        self.samples = [question(dataset[index]) for index in range(len(dataset))]
        check_length("free_text", self.samples, max_new_tokens)
        self.max_new_tokens = max_new_tokens

    def parse(self, text: str, sample: Sample) -> str | None:
        """Return the text after the thoughts; None if it has no word."""
        text = answer_of(text, self.reasoning)
        return text.strip() if tokens(text) else None

    def judge(self, answer: str, sample: Sample) -> dict[str, Graded]:
        return {metric.name: METRICS[metric.name][1](answer, sample.answers) for metric in self.metrics}
