"""Clips of whole time steps, for encoders that join several frames of a clip in one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from operator import index
from typing import TYPE_CHECKING

from vlframe.errors import PluginError

if TYPE_CHECKING:
    import numpy as np

    from vlframe.contracts.reader import VideoInfo
    from vlframe.contracts.sampler import Sampler
    from vlframe.contracts.timeline import Timeline


MOST_FRAMES = "media.frames"  # the key that sets the most frames of a clip, unless a benchmark has its own


def chosen_frames(
    sampler: Sampler,
    info: VideoInfo,
    start: float | None,
    end: float | None,
    *,
    most: int,
    step: int,
    training: bool,
    generator: np.random.Generator,
    limited_by: str = MOST_FRAMES,
) -> tuple[list[int], str]:
    """Return the sampler's frames of a clip, filled to whole steps, and what a user should know about the choice.

    ``limited_by`` is the key that sets ``most``. PluginError if there are no frames, more than ``most``, or some that
    the clip does not have.
    """
    given = list(sampler.indices(info, start, end, training=training, generator=generator))
    if not 1 <= len(given) <= most:
        raise PluginError(
            f"the sampler {type(sampler).__name__} gives {len(given)} frames of a clip, and {limited_by} is {most}; "
            f"it must give 1 to {most}"
        )
    indices = _of_the_clip(given, info.frames, type(sampler).__name__)
    cut = sampler.note(info, start, end)
    notes = [f"{cut} by {limited_by}" if cut else "", fill_note(len(indices), step)]
    return whole_steps(indices, step), "; ".join(note for note in notes if note)


def _of_the_clip(given: Sequence[object], count: int, sampler: str) -> list[int]:
    """Return frames as whole numbers. PluginError for what is none of the clip's: it is no fault of the file, whose
    sample would be quarantined for it.
    """
    found: list[int] = []
    for item in given:
        number = _whole(item)
        if number is None or not 0 <= number < count:
            raise PluginError(
                f"the sampler {sampler} gives frame {item!r} of a clip of {count} frames; it must give whole numbers "
                f"from 0 to {count - 1}"
            )
        found.append(number)
    if found != sorted(found):
        raise PluginError(f"the sampler {sampler} gives frames {found}; it must give them in ascending order")
    return found


def _whole(value: object) -> int | None:
    """Return a whole number as an int (NumPy and torch have their own); None for anything else."""
    try:
        return index(value)  # type: ignore[arg-type]  # the error is what is asked about
    except TypeError:
        return None


def whole_steps(frames: Sequence[int], step: int) -> list[int]:
    """Repeat the last frame until there is a multiple of ``step``."""
    return [*frames, *[frames[-1]] * (-len(frames) % step)]


def fill_note(frames: int, step: int) -> str:
    """Say that a clip is filled; "" if it is not."""
    if frames % step == 0:
        return ""
    plural = "s" if frames > 1 else ""
    groups = "pairs" if step == 2 else f"groups of {step}"
    return f"{frames} frame{plural}, filled to {frames + -frames % step} with the last one: the encoder takes {groups}"


def filled(timeline: Timeline, step: int) -> Timeline:
    """Fill a clip whose frames a processor chose. What is not known before decoding is left as it is."""
    frames = len(timeline.frames)
    note = fill_note(frames, step)
    if not note or timeline.media.kind != "video" or timeline.shape is None:
        return timeline
    places = whole_steps(range(frames), step)
    return replace(
        timeline,
        frames=tuple(timeline.frames[place] for place in places),
        seconds=tuple(timeline.seconds[place] for place in places),
        shape=(len(places) * timeline.tiles, *timeline.shape[1:]),
        note="; ".join(part for part in (timeline.note, note) if part),
    )
