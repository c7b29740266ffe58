"""Benchmarks: questions, how an answer is read, and when it is right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vlframe.data.sample import Sample
from vlframe.registry import Registry
from vlframe.testing.dataset import check_sample
from vlframe.testing.subject import Subject

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
    """``dataset`` is the questions: samples, or the config of a data set; left out for a benchmark with its own."""
    subject = Subject("benchmark", component, params or {}, plugins)
    if isinstance(dataset, Mapping):
        dataset = Registry.installed(plugins).build("dataset", dataset)
    neighbours: dict[str, Any] = {}
    if dataset is not None:
        neighbours = {"dataset": dataset}
        if isinstance(component, str):  # its config names a data set; the built one takes its place
            subject.params = {"dataset": "built", **subject.params}
    benchmark = subject.build(**neighbours)
    questions = subject.attribute(benchmark, "samples", Sequence, "a sequence of vlframe.Sample")
    if subject.attribute(benchmark, "max_new_tokens", int, "the longest answer, in tokens") < 1:
        subject.fail(f"max_new_tokens is {benchmark.max_new_tokens}; an answer needs at least 1")
    if not questions:
        subject.fail("has no questions")
    right_somewhere = set()
    for index, sample in enumerate(questions[:samples]):
        where = f"question {index}"
        check_sample(subject, sample, where, files=files)
        if sample.turns[-1].role != "user":
            subject.fail(f"{where} ends with a turn of the {sample.turns[-1].role}; it must end with what is asked")
        _check_right(subject, benchmark, sample, where)
        right_somewhere |= _right_nonsense(subject, benchmark, sample, where)
        _check_wrong(subject, benchmark, sample, where)
    if right_somewhere:
        subject.fail(f"counts {', '.join(map(repr, sorted(right_somewhere)))} as a right answer")


def _verdict(subject: Subject, benchmark: Any, text: str, sample: Sample, where: str) -> bool | None:
    """Whether a text is right; None where it is no answer."""
    with subject.doing(f"parse({text[:40]!r}) of {where}"):
        answer = benchmark.parse(text, sample)
    if answer is None:
        return None
    if not isinstance(answer, str):
        subject.fail(f"parse({text[:40]!r}) of {where} is {answer!r}; it must be a string, or None for no answer")
    with subject.doing(f"correct({answer!r}) of {where}"):
        verdict = benchmark.correct(answer, sample)
    if not isinstance(verdict, bool):
        subject.fail(f"correct({answer!r}) of {where} is {verdict!r}; it must be True or False")
    return verdict


def _check_right(subject: Subject, benchmark: Any, sample: Sample, where: str) -> None:
    if sample.answer is None:
        subject.fail(f"{where} ({sample.id}) has no answer, so nothing can be right")
    if not _verdict(subject, benchmark, sample.answer, sample, where):
        subject.fail(f"does not take the right answer of {where}, {sample.answer!r}, as right")


def _right_nonsense(subject: Subject, benchmark: Any, sample: Sample, where: str) -> set[str]:
    texts = [text for text in NONSENSE if text.strip() != (sample.answer or "").strip()]
    return {text[:20] for text in texts if _verdict(subject, benchmark, text, sample, where)}


def _check_wrong(subject: Subject, benchmark: Any, sample: Sample, where: str) -> None:
    """Of all options, written out, one is right."""
    right = [option for option in sample.options if _verdict(subject, benchmark, option, sample, where)]
    if sample.options and len(right) != 1:
        subject.fail(f"takes {len(right)} of the options {list(sample.options)} of {where} as right; it must be one")
