"""Checks of samplers, on clips of several lengths and rates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vlframe.contracts.reader import VideoInfo
from vlframe.errors import MediaError, named_line
from vlframe.testing.subject import Subject

FRAMES = 8
Bounds = tuple[float | None, float | None]
CLIPS = {
    "a clip of one frame": VideoInfo(1, 25.0, 48, 64, False),
    "a clip of three frames": VideoInfo(3, 25.0, 48, 64, False),
    "a clip of ten seconds": VideoInfo(250, 25.0, 48, 64, False),
    "a clip that begins at 5 s": VideoInfo(250, 25.0, 48, 64, False, begin=5.0),
    "a clip of two hours": VideoInfo(216000, 30.0, 48, 64, False),
    "a clip of 40 frames in a second and 20 in 20 s": VideoInfo(
        60, 60 / 21, 48, 64, False, times=(*(k / 40 for k in range(40)), *(1.0 + k for k in range(20))), end=21.0
    ),
    "a clip of a varying rate": VideoInfo(6, 2.0, 48, 64, False, times=(0.0, 0.1, 0.2, 1.5, 2.5, 2.6), end=3.0),
}


def check_sampler(
    component: str | type, params: Mapping[str, Any] | None = None, *, plugins: Sequence[str] = ()
) -> None:
    """Check a sampler: how many frames, in which order, between which bounds, and whether chance is the run's."""
    subject = Subject("sampler", component, params or {}, plugins)
    for limit in (1, FRAMES):
        sampler = subject.build(frames=limit)
        subject.pickles(sampler, "it")
        for what, info in CLIPS.items():
            begin, end = info.time(0), info.time(0) + info.seconds
            inside: Bounds = (begin + 0.4 * (end - begin), begin + 0.6 * (end - begin))
            halves: list[Bounds] = [(inside[0], None), (None, inside[1])] if info.frames > FRAMES else []
            for bounds in ((None, None), inside, *halves):
                for training in (False, True):
                    _check_indices(subject, sampler, limit, what, info, bounds, training=training)
            _check_note(subject, sampler, what, info)
            _check_nothing_shown(subject, sampler, what, info)
    subject.passed("indices: at most as many as asked, ascending, between the bounds, chance from the generator only")
    subject.passed("bounds between which nothing is shown are refused")


def _check_indices(
    subject: Subject, sampler: Any, limit: int, what: str, info: VideoInfo, bounds: Bounds, *, training: bool
) -> None:
    words = f"indices() of {what} from {bounds[0]} to {bounds[1]} with {limit} frames"
    try:
        with subject.doing(words, refusals=True):
            taken, again = (
                sampler.indices(info, *bounds, training=training, generator=np.random.default_rng(3)) for _ in range(2)
            )
    except MediaError as error:
        if not _begins_inside(info, bounds):  # the frame that is shown then began earlier: this may be refused
            return
        subject.fail(f"{words} is refused: {error}")
    if not isinstance(taken, list) or not all(isinstance(index, int | np.integer) for index in taken):
        subject.fail(f"{words} gives {taken!r}; it must give a list of whole numbers")
    if not 1 <= len(taken) <= limit:
        subject.fail(f"{words} gives {len(taken)} indices; it must give 1 to {limit}")
    if list(taken) != sorted(taken) or taken[0] < 0 or taken[-1] >= info.frames:
        subject.fail(f"{words} gives {taken}; they must ascend, from 0 to {info.frames - 1}")
    if list(taken) != list(again):
        subject.fail(f"{words} differs with an equal generator; the generator is the only source of chance")
    begin = info.time(0) if bounds[0] is None else bounds[0]
    end = info.time(0) + info.seconds if bounds[1] is None else bounds[1]
    ends = [info.time(index + 1) if index + 1 < info.frames else info.time(0) + info.seconds for index in taken]
    slack = 1.001 / info.fps  # a frame: systems round to the one before or after
    outside = [
        index
        for index, until in zip(taken, ends, strict=True)
        if until < begin - slack or info.time(index) > end + slack
    ]
    if outside:
        subject.fail(f"{words} gives frame {outside[0]}, which is not shown then; seconds are on the container's clock")


def _begins_inside(info: VideoInfo, bounds: Bounds) -> bool:
    """Return whether a frame begins between the bounds."""
    start, end = bounds
    begins = [info.time(index) for index in range(info.frames)]
    return any((start is None or start <= at) and (end is None or at < end) for at in begins)


def _check_note(subject: Subject, sampler: Any, what: str, info: VideoInfo) -> None:
    with subject.doing(f"note() of {what}"):
        note = sampler.note(info, None, None)
    if not isinstance(note, str):
        subject.fail(f"note() of {what} gives {note!r}; it must give a text, which may be empty")


def _check_nothing_shown(subject: Subject, sampler: Any, what: str, info: VideoInfo) -> None:
    late = info.time(0) + info.seconds + 1
    try:
        found = sampler.indices(info, late, late + 1, training=False, generator=np.random.default_rng(0))
    except MediaError:
        return
    except Exception as error:
        subject.fail(
            f"bounds after the end of {what} raise {named_line(error)}; they must raise a vlframe.MediaError, as "
            "vlframe.shown_span does"
        )
    subject.fail(
        f"bounds after the end of {what} give {found}; they must raise a vlframe.MediaError, as vlframe.shown_span does"
    )
