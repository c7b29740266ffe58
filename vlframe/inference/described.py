"""Describes what a model will be shown for a question: frames, seconds, sizes, tiles, tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vlframe.table import render

if TYPE_CHECKING:
    from vlframe.contracts.grids import PixelLayout
    from vlframe.contracts.sample import Sample
    from vlframe.contracts.timeline import Timeline
    from vlframe.contracts.token_budget import TokenBudget
    from vlframe.data.prepare import PreparedMedia, PreparedSample


def timeline_table(sample: Sample, prepared: PreparedSample, budget: TokenBudget) -> str:
    """Describe each medium of a question and its tokens, then the total. Seconds are on the container's clock."""
    blocks = [_medium(item, budget) for item in prepared.media]
    shown = [item.timeline.media for item in prepared.media if item.timeline is not None]
    blocks += [
        f"{item.path} ({item.kind}): not shown to the model; media.withhold or the processor leaves it out"
        for item in sample.media
        if item not in shown
    ]
    media = sum(item.tokens for item in prepared.media)
    blocks.append(
        f"{len(prepared.ids)} tokens: {media} of media, {len(prepared.ids) - media} of text; the context is "
        f"{budget.max_length}"
    )
    return "\n\n".join(blocks)


def notes(prepared: PreparedSample) -> list[str]:
    """Return what a user should know about the chosen frames, file by file."""
    timelines = [item.timeline for item in prepared.media if item.timeline is not None]
    return [note_of(timeline) for timeline in timelines if timeline.note]


def note_of(timeline: Timeline) -> str:
    return f"{timeline.media.path}: {timeline.note}"


def _medium(item: PreparedMedia, budget: TokenBudget) -> str:
    timeline = item.timeline
    if timeline is None:
        return f"{item.file.kind}: {item.tokens} tokens"
    lines = [f"{timeline.media.path} ({item.file.kind}{_facts(timeline)}) -> {item.tokens} tokens"]
    if timeline.note:
        lines.append(f"note: {timeline.note}")
    if timeline.layout is not None:
        lines.append(_layout(timeline.layout, len(timeline.frames) or 1))
    elif timeline.shape is None:
        seconds = getattr(budget.front_end(item.file.kind), "seconds", None)
        heard = "" if seconds is None else f"; at most {seconds:g} s are heard"
        lines.append(f"features: {'x'.join(map(str, item.file.tensor.shape))}{heard}")
    if timeline.frames:
        lines.append(_frames(timeline.frames, timeline.seconds))
    return "\n".join(lines)


def _facts(timeline: Timeline) -> str:
    facts = [f"{timeline.width}x{timeline.height} pixels"] if timeline.width else []
    if timeline.duration:
        facts.append(f"{timeline.duration:.3f} s")
    return "".join(f", {fact}" for fact in facts)


def _layout(layout: PixelLayout, frames: int) -> str:
    each = "each frame" if frames > 1 else "the picture"
    size = f"{layout.width}x{layout.height} pixels"
    if layout.tiles == 1:
        return f"{each} becomes {size}"
    overview = " and an overview" if layout.overview else ""
    return f"{each} becomes {layout.tiles} tiles of {size}: {layout.rows} rows of {layout.columns}{overview}"


def _frames(frames: Sequence[int], seconds: Sequence[float]) -> str:
    return render([{"frame": frame, "second": f"{second:.3f}"} for frame, second in zip(frames, seconds, strict=True)])
