"""Metrics of free text against published values and a plain count by hand."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vlframe_benchmarks import THOUGHT
from vlframe_benchmarks.free_text import FreeText
from vlframe_benchmarks.text_metrics import bleu, bleu_counts, exact_match, rouge_l, token_f1, tokens

from vlframe import ConfigError, DataError, Sample, Turn
from vlframe.evaluation.judge import Judge


def free_text(*samples: Sample, metrics: tuple[str, ...] = ("token_f1", "bleu")) -> FreeText:
    return FreeText(dataset=samples, metrics=metrics, reasoning=THOUGHT, max_new_tokens=8)


def sample(answer: str | None, *others: str, reply: str | None = None) -> Sample:
    turns = (Turn("user", "What happens?"), *([Turn("assistant", reply)] if reply else []))
    return Sample("q1", turns, answer=answer, other_answers=others)


@pytest.mark.parametrize(
    ("answer", "reference", "f1", "exact"),
    [  # by SQuAD's evaluate-v1.1.py
        ("The red ball.", "a red ball", 1.0, True),
        ("a red ball", "red", 2 / 3, False),
        ("ball red", "red ball", 1.0, False),
        ("red red ball", "red ball ball", 2 / 3, False),
        ("don't", "dont", 1.0, True),
        ("it is blue", "red", 0.0, False),
        ("the", "a", 1.0, True),
        ("the", "red", 0.0, False),
        ("一个红球", "红球", 2 / 3, False),
    ],
)
def test_token_f1_and_exact_match(answer: str, reference: str, f1: float, exact: bool) -> None:
    assert token_f1(answer, [reference]) == pytest.approx(f1) and exact_match(answer, [reference]) is exact
    assert token_f1(answer, ["far away", reference]) == pytest.approx(f1)


def test_rouge_l_published() -> None:
    """The example of the README of Google's rouge_score."""
    said, wanted = "The quick brown dog jumps on the log.", "The quick brown fox jumps over the lazy dog"
    assert rouge_l(said, [wanted]) == pytest.approx(0.5882352941176471)
    assert rouge_l(said, ["other", wanted]) == rouge_l(said, [wanted]) and rouge_l(said, ["other"]) == 0.0


def test_bleu_published() -> None:
    """The example of NLTK's corpus_bleu: two answers, with three references and with one."""
    said = "It is a guide to action which ensures that the military always obeys the commands of the party"
    wanted = [
        "It is a guide to action that ensures that the military will forever heed Party commands",
        "It is the guiding principle which guarantees the military forces always being under the command of the Party",
        "It is the practical guide for the army always to heed the directions of the party",
    ]
    other = "he read the book because he was interested in world history"
    other_wanted = ["he was interested in world history because he read the book"]
    counts = [
        bleu_counts(said.split(), [text.split() for text in wanted]),
        bleu_counts(other.split(), [text.split() for text in other_wanted]),
    ]
    assert bleu([sum(column) for column in zip(*counts, strict=True)]) == pytest.approx(0.5920778868801042)
    assert bleu(counts[0]) == pytest.approx(0.5045666840058485)  # NLTK's sentence_bleu


words = st.lists(st.sampled_from("abcd"), max_size=9)


@settings(max_examples=100, deadline=None)
@given(said=words, wanted=st.lists(words.filter(bool), min_size=1, max_size=3))
def test_metrics_are_bounded_and_best_for_a_reference(said: list[str], wanted: list[list[str]]) -> None:
    answer, references = " ".join(said), [" ".join(text) for text in wanted]
    for metric in (token_f1, rouge_l):
        assert 0.0 <= metric(answer, references) <= 1.0
        assert metric(references[-1], references) == 1.0
    counts = bleu_counts(said, wanted)
    assert 0.0 <= bleu(counts) <= 1.0 and len(counts) == 10
    longest = max(wanted, key=len)
    assert len(longest) < 4 or bleu(bleu_counts(longest, wanted)) == pytest.approx(1.0)
    by_hand = sum(min(said.count(word), max(text.count(word) for text in wanted)) for word in set(said))
    assert counts[0] == by_hand


def test_the_nearest_reference_counts_and_an_answer_without_words_is_none() -> None:
    benchmark = free_text(sample("a red ball", "a crimson sphere"))
    judge = Judge("benchmark 'free_text'", benchmark)
    asked = benchmark.samples[0]
    assert judge("A crimson sphere!", asked).values["token_f1"] == 1.0
    assert judge("<think>red ball</think>?!", asked).parsed is None
    unread = judge(" ", asked).values
    assert unread["token_f1"] == 0.0 and unread["bleu"] == (0.0,) * 9 + (3.0,)
    assert bleu([0.0] * 9 + [3.0]) == 0.0 and not math.isnan(bleu((0.0,) * 10))


def test_the_reply_is_the_reference_where_there_is_no_answer() -> None:
    assert free_text(sample(None, reply="It moves.")).samples[0].answers == ("It moves.",)
    with pytest.raises(DataError, match="no answer to compare with"):
        free_text(sample("red", " "))
    for metrics in ((), ("token_f1", "token_f1"), ("cider",)):
        with pytest.raises(ConfigError, match="it names some of token_f1, exact_match, rouge_l, bleu, each once"):
            free_text(sample("red"), metrics=metrics)


def test_words_without_spaces_are_single_signs() -> None:
    assert tokens("Red-hot, 红球 v2!") == ["redhot", "红", "球", "v2"]
