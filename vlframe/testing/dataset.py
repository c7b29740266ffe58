"""Checks of data sets and their samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vlframe.contracts.sample import Media, Sample, Subset, Turn, media_tags
from vlframe.testing.subject import Subject

ROLES = ("system", "user", "assistant")


def check_dataset(
    component: str | type,
    params: Mapping[str, Any] | None = None,
    *,
    samples: int = 1000,
    files: bool = True,
    plugins: Sequence[str] = (),
) -> None:
    """Check a data set by the first, the last and some of its ``samples`` between them. ``files``: their media must
    exist, too.
    """
    subject = Subject("dataset", component, params or {}, plugins)
    dataset, second = subject.build(), replace(subject, seed=1).build()
    with subject.doing("len()"):
        length = len(dataset)
    if length < 1:
        subject.fail("is empty")
    arrived = subject.pickles(dataset, "the data set")
    if (other := len(second)) != length:
        subject.fail(f"has {length} samples, and {other} when it is built again; a resumed run would read others")
    looked_at = _looked_at(length, samples)
    seen: dict[str, int] = {}
    for index in looked_at:
        with subject.doing(f"sample {index}"):
            sample, again, anew = dataset[index], dataset[index], second[index]
        with subject.doing(f"sample {index} in a data worker, which gets the data set pickled,"):
            far = arrived[index]
        check_sample(subject, sample, f"sample {index}", files=files)
        if sample != again:
            subject.fail(f"sample {index} differs from one look to the next; chance belongs to the run, by its seed")
        if sample != anew:
            subject.fail(f"sample {index} differs when the data set is built again; a resumed run would read others")
        if sample != far:
            subject.fail(f"sample {index} differs in a data worker, which gets the data set pickled (__getstate__?)")
        if sample.id in seen:
            subject.fail(f"samples {seen[sample.id]} and {index} have the same id {sample.id!r}")
        seen[sample.id] = index
        if not sample.answers and not any(turn.role == "assistant" for turn in sample.turns):
            subject.fail(f"sample {index} has neither an assistant's turn nor an answer: nothing to learn or score")
        if any(turn.role == "assistant" and not turn.text.strip() for turn in sample.turns):
            subject.fail(f"sample {index} has an assistant's turn without text: nothing to learn")
    subject.passed("samples: their ids, turns, tags, media and answers")
    subject.passed("samples are the same at every look, and when the data set is built again")
    _check_random_access(subject, dataset, looked_at)
    try:
        dataset[length]
    except IndexError:
        pass
    except Exception as error:
        subject.fail(f"index {length} of {length} raises {type(error).__name__}; a sequence raises IndexError")
    else:
        subject.fail(f"index {length} of {length} gives a sample; a sequence raises IndexError")
    _check_parts(subject, getattr(dataset, "subsets", None), length)
    _check_own_check(subject, dataset)
    _check_entries(subject, dataset, looked_at)
    subject.passed("its end, its subsets and its entries agree with its samples")


def _looked_at(length: int, samples: int) -> list[int]:
    """Return the indices of the first, the last, and evenly spread ones between them."""
    third = max(1, samples // 3)
    spread = range(0, length, max(1, length // third))
    return sorted({*range(min(length, third)), *spread, *range(max(0, length - third), length)})


def _check_random_access(subject: Subject, dataset: Any, looked_at: Sequence[int]) -> None:
    """Check that a sample does not depend on those asked for before it: runs shuffle."""
    forwards = [dataset[index] for index in looked_at]
    with subject.doing("reading samples from the last to the first"):
        backwards = [dataset[index] for index in reversed(looked_at)]
    for index, one, other in zip(looked_at, forwards, reversed(backwards), strict=True):
        if one != other:
            subject.fail(f"sample {index} depends on which were asked for before it; runs read in another order")


def check_sample(subject: Subject, sample: Any, where: str, *, files: bool) -> None:
    if not isinstance(sample, Sample):
        subject.fail(f"{where} is a {type(sample).__name__}; it must be a vlframe.Sample")
    if not sample.id or not isinstance(sample.id, str):
        subject.fail(f"{where} has the id {sample.id!r}; it must be a word by which a person finds it")
    if not sample.turns or not all(isinstance(turn, Turn) and turn.role in ROLES for turn in sample.turns):
        subject.fail(f"{where} has turns {sample.turns!r}; they must be vlframe.Turn of {', '.join(ROLES)}")
    tags = media_tags(sample.turns)
    kinds = [item.kind for item in sample.media]
    if tags != kinds:
        subject.fail(f"{where} has the tags {tags} in its text and the media {kinds}; they must be the same, in order")
    for item in sample.media:
        if not isinstance(item, Media) or not isinstance(item.path, Path):
            subject.fail(f"{where} has the media {item!r}; it must be a vlframe.Media with a pathlib.Path")
        if files and not item.path.is_file():
            subject.fail(f"{where} points at {item.path}, which is not there (files=False leaves that unchecked)")
        if item.start is not None and item.end is not None and item.start >= item.end:
            subject.fail(f"{where} points at {item.path} from {item.start} s to {item.end} s")


def _check_entries(subject: Subject, dataset: Any, looked_at: Sequence[int]) -> None:
    """Check that the rows for ``vlframe data check`` are the samples used in training."""
    own = getattr(type(dataset), "entries", None)
    if own is None:
        return
    values = _parameters(subject)
    with subject.doing("entries()"):
        entries = list(own(**values))
    if len(entries) != len(dataset):
        subject.fail(f"entries() gives {len(entries)} rows, and the data set has {len(dataset)} samples")
    for index in looked_at:
        if entries[index].problems or entries[index].sample != dataset[index]:
            subject.fail(f"row {index} of entries() is {entries[index]!r}, and sample {index} is {dataset[index]!r}")


def _check_own_check(subject: Subject, dataset: Any) -> None:
    """Check that the parameters it was built with pass its own check."""
    own = getattr(type(dataset), "check_parameters", None)
    if own is not None:
        with subject.doing("check_parameters() of the parameters that it is built with"):
            own(_parameters(subject))


def _parameters(subject: Subject) -> dict[str, Any]:
    """Return the parameters that a class is built with, those left to their defaults included."""
    values = dict(subject.params)
    if isinstance(subject.component, str):
        values = dict(subject.registry.check("dataset", {"name": subject.component, **values}))
        del values["name"]
    return values


def _check_parts(subject: Subject, parts: Any, length: int) -> None:
    if parts is None:
        return
    at = 0
    for part in parts:
        if not isinstance(part, Subset) or part.start != at or part.stop < part.start or part.weight < 0:
            subject.fail(
                f"has the subsets {parts}; they must be vlframe.Subset, one after the other from 0, weights >= 0"
            )
        at = part.stop
    if at != length:
        subject.fail(f"has parts up to {at} and {length} samples; together they must hold every sample")
