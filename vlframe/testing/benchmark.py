"""Checks of benchmarks: their questions, how answers are parsed, and how they are scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from vlframe.contracts.benchmark import Metric
from vlframe.contracts.sample import Sample
from vlframe.errors import PluginError
from vlframe.evaluation.judge import Judge, Judgement
from vlframe.registry.registry import Registry
from vlframe.testing.dataset import check_sample
from vlframe.testing.subject import ContractError, Subject

NONSENSE = ("", " ", "\n", "qzxv wqpl", "?!", "🙂" * 50, "A " * 400)


def check_benchmark(
    component: str | type,
    params: Mapping[str, Any] | None = None,
    *,
    dataset: Sequence[Sample] | Mapping[str, Any] | None = None,
    samples: int = 50,
    files: bool = True,
    plugins: Sequence[str] = (),
) -> None:
    """Check a benchmark. ``dataset`` holds the questions: samples, or the config of a data set; omitted for a benchmark
    with its own.

    Right answers must be right (for graded ones: better than any nonsense, by the primary metric), nonsense wrong, and
    the values are checked as in a run.
    """
    subject = Subject("benchmark", component, params or {}, plugins)
    if isinstance(dataset, Mapping):
        dataset = Registry.installed(plugins).build("dataset", dataset)
    neighbours: dict[str, Any] = {}
    if dataset is not None:
        neighbours = {"dataset": dataset}
        if isinstance(component, str):  # its config names a data set; the built one replaces it
            subject.params = {"dataset": "built", **subject.params}
    benchmark, second = subject.build(**neighbours), replace(subject, seed=1).build(**neighbours)
    questions = subject.attribute(benchmark, "samples", Sequence, "a sequence of vlframe.Sample")
    if subject.attribute(benchmark, "max_new_tokens", int, "the longest answer, in tokens") < 1:
        subject.fail(f"max_new_tokens is {benchmark.max_new_tokens}; an answer needs at least 1")
    if not questions:
        subject.fail("has no questions")
    if not hasattr(benchmark, "parse"):
        subject.fail("has no parse(text, sample)")
    if list(questions[:samples]) != list(second.samples[:samples]):
        subject.fail("asks other questions, or in another order, when it is built again; runs could not be compared")
    judge = _CheckedJudge(subject, benchmark)
    _check_ids(subject, questions)
    for index, sample in enumerate(questions[:samples]):
        where = f"question {index}"
        check_sample(subject, sample, where, files=files)
        if sample.turns[-1].role != "user":
            subject.fail(f"{where} ends with a turn of the {sample.turns[-1].role}; it must end with what is asked")
        if not sample.answers:
            subject.fail(f"{where} ({sample.id}) has no answer, so nothing can be right")
        worst_of_right = _check_right(judge, sample, where)
        if nonsense := _right_nonsense(judge, sample, worst_of_right):
            subject.fail(f"counts {', '.join(map(repr, sorted(nonsense)))} as a right answer")
        _check_blanks(judge, sample, where)
        _check_options(judge, sample, where)
        _check_within_words(judge, sample, where)
        _check_sentence(judge, sample, where)
        _check_denied(judge, sample, where)
        _check_candidates(judge, sample, where)
        _check_rotated(judge, sample, where)
    if list(questions[:samples]) != list(second.samples[:samples]):
        subject.fail("changes its questions while answers are judged")
    subject.passed("questions: whole, answerable, the same when it is built again")
    subject.passed("right answers are right, also between blanks; nonsense and answers within other words are not")
    subject.passed("a judgement is the same whenever it is asked for; candidates and rotated options are judged alike")


def _check_ids(subject: Subject, questions: Sequence[Sample]) -> None:
    """Check that no two questions share an id, under which their answers are kept."""
    seen: dict[str, int] = {}
    for index, sample in enumerate(questions):
        first = seen.setdefault(getattr(sample, "id", str(index)), index)
        if first != index:
            subject.fail(f"questions {first} and {index} have the same id {sample.id!r}")


class _CheckedJudge:
    """The judge of a run, with its errors turned into ``ContractError``."""

    def __init__(self, subject: Subject, benchmark: Any) -> None:
        self.subject = subject
        self.benchmark = benchmark
        try:
            self.judge = Judge(subject.label, benchmark)
        except PluginError as error:
            raise ContractError(str(error)) from error

    @property
    def primary(self) -> Metric:
        return self.judge.primary

    @property
    def of_many(self) -> bool:
        """Return whether the primary metric is undefined for a single answer."""
        return self.primary.of_sums is not None

    def __call__(self, text: str, sample: Sample) -> Judgement:
        with self.subject.doing(f"judging {text[:40]!r} for question {sample.id!r}"):
            judgement, again = self.judge(text, sample), self.judge(text, sample)
        if judgement != again:
            self.subject.fail(f"judges {text[:40]!r} for question {sample.id!r} otherwise when it is asked again")
        return judgement

    def worth(self, text: str, sample: Sample) -> float | None:
        """Return the primary metric, more is better; None if it does not apply, or the text cannot be parsed."""
        judgement = self(text, sample)
        value = judgement.values[self.primary.name]
        if judgement.parsed is None or not isinstance(value, int | float):
            return None
        return -float(value) if self.primary.less_is_better else float(value)


def _check_right(judge: _CheckedJudge, sample: Sample, where: str) -> float:
    """Return the lowest value among the right answers."""
    worths = [0.0] if judge.of_many else []
    for answer in sample.answers:
        worth = judge.worth(answer, sample)
        if judge.of_many:
            continue
        if worth is None or (judge.primary.value is bool and worth != (not judge.primary.less_is_better)):
            judge.subject.fail(f"does not take the right answer of {where}, {answer!r}, as right")
        worths.append(worth)
        if len(answer.split()) > judge.benchmark.max_new_tokens:
            judge.subject.fail(
                f"max_new_tokens is {judge.benchmark.max_new_tokens}, and the right answer of {where}, {answer!r}, has "
                f"{len(answer.split())} words: it could never be written"
            )
    return min(worths)


def _judges_texts(judge: _CheckedJudge) -> bool:
    """Return whether the primary metric says right or wrong of one answer."""
    return judge.primary.value is bool and not judge.of_many


def _check_blanks(judge: _CheckedJudge, sample: Sample, where: str) -> None:
    """Check that blanks and line breaks around a right answer, as models write them, change nothing."""
    for answer in sample.answers if _judges_texts(judge) else ():
        padded = f" {answer}\n"
        if judge.worth(answer, sample) != judge.worth(padded, sample):
            judge.subject.fail(f"does not take the right answer of {where} with blanks around it, {padded!r}")


def _check_sentence(judge: _CheckedJudge, sample: Sample, where: str) -> None:
    """Check that a right answer in words is right with a capital letter and a full stop, as models write it."""
    for answer in sample.answers if _judges_texts(judge) else ():
        if not _in_words(answer):
            continue
        sentence = f"{answer[0].upper()}{answer[1:]}."
        if judge.worth(answer, sample) != judge.worth(sentence, sample):
            judge.subject.fail(f"does not take the right answer of {where} written as a sentence, {sentence!r}")


def _check_denied(judge: _CheckedJudge, sample: Sample, where: str) -> None:
    """Check that the denial of a right answer in words is not right."""
    for answer in sample.answers if _judges_texts(judge) else ():
        denial = f"not {answer}"
        if not _in_words(answer) or denial.casefold() in map(str.casefold, (*sample.answers, *sample.options)):
            continue
        if judge.worth(denial, sample) == judge.worth(answer, sample):
            judge.subject.fail(f"takes {denial!r} as right in {where}, where {answer!r} is")


def _in_words(answer: str) -> bool:
    """Return whether an answer is in words: no letter of an option, number, formula or code."""
    return len(answer) > 1 and answer.replace(" ", "").isalpha()


def _check_within_words(judge: _CheckedJudge, sample: Sample, where: str) -> None:
    """Check that a right answer is not found inside another word, as "red" in "bored"."""
    if not _judges_texts(judge):
        return
    right = max(worth for answer in sample.answers if (worth := judge.worth(answer, sample)) is not None)
    for answer in sample.answers:
        for word in _parts_of_words(answer.strip()):
            if judge.worth(word, sample) == right and word not in sample.answers:
                judge.subject.fail(
                    f"takes {word!r} as right in {where}, where {answer!r} is; it must look at whole words"
                )


def _parts_of_words(answer: str) -> list[str]:
    """Return an answer inside another word, and half of it, if it is a word of some length."""
    half = [answer[: len(answer) // 2]] if len(answer) > 2 and answer.isalpha() else []
    return [f"qz{answer}qz", f"{answer}qz", f"qz{answer}", *half]


def _right_nonsense(judge: _CheckedJudge, sample: Sample, right: float) -> set[str]:
    """Return the nonsense that scores as well as a right answer."""
    answers = {answer.strip() for answer in sample.answers}
    texts = [text for text in NONSENSE if text.strip() not in answers]
    worths = {text: judge.worth(text, sample) for text in texts}
    return {text[:20] for text, worth in worths.items() if worth is not None and worth >= right and not judge.of_many}


def _check_options(judge: _CheckedJudge, sample: Sample, where: str) -> None:
    """Check that as many of the written-out options are right as there are right answers, and a list of all is not."""
    if not sample.options or judge.primary.value is not bool:
        return
    best = 0.0 if judge.primary.less_is_better else 1.0
    right = [option for option in sample.options if judge.worth(option, sample) == best]
    if len(right) != len(sample.answers):
        judge.subject.fail(
            f"takes {len(right)} of the options {list(sample.options)} of {where} as right; it must be "
            f"{'one' if len(sample.answers) == 1 else len(sample.answers)}"
        )
    everything = ", ".join(sample.options)
    if (
        len(sample.options) > len(sample.answers)
        and _judges_texts(judge)
        and (judge.worth(everything, sample) == (not judge.primary.less_is_better))
    ):
        judge.subject.fail(f"takes the list of all options of {where}, {everything!r}, as right")


def _check_candidates(judge: _CheckedJudge, sample: Sample, where: str) -> None:
    """Check that every candidate of ``choice=likelihood`` is parsed as an answer."""
    if not hasattr(judge.benchmark, "candidates"):
        return
    with judge.subject.doing(f"candidates of {where}"):
        candidates = list(judge.benchmark.candidates(sample))
    unread = [text for text in candidates if not isinstance(text, str) or judge(text, sample).parsed is None]
    if unread:
        judge.subject.fail(f"does not read its own candidate {unread[0]!r} of {where} as an answer")
    if twice := [text for text in candidates if candidates.count(text) > 1]:
        judge.subject.fail(f"has the candidate {twice[0]!r} of {where} twice")
    if _judges_texts(judge) and not _right_among(judge, candidates, sample):
        judge.subject.fail(f"has no right answer among its candidates of {where}: {candidates}")


def _right_among(judge: _CheckedJudge, texts: Sequence[str], sample: Sample) -> set[str]:
    """Return the texts that are right."""
    best = 0.0 if judge.primary.less_is_better else 1.0
    return {text for text in texts if judge.worth(text, sample) == best}


def _check_rotated(judge: _CheckedJudge, sample: Sample, where: str) -> None:
    """Check that a question with its options in other places has the same options, and the same ones are right."""
    if not hasattr(judge.benchmark, "rotated"):
        return
    with judge.subject.doing(f"rotated() of {where}"):
        turned = judge.benchmark.rotated(sample)
    if turned is None:
        return
    check_sample(judge.subject, turned, f"rotated() of {where}", files=False)
    old, new = list(sample.options), list(turned.options)
    if old == new or sorted(old) != sorted(new):
        judge.subject.fail(f"rotated() of {where} has the options {new}; they must be {old} in other places")
    _check_right(judge, turned, f"rotated() of {where}")
    if _judges_texts(judge) and _right_among(judge, old, sample) != _right_among(judge, new, turned):
        judge.subject.fail(f"rotated() of {where} makes another option right; its answer must move with the options")
