"""Controls: the same questions with something taken away, to see whether a score uses it.

``one_frame``, ``shuffled`` and ``reversed`` show the frames of a clip in another order, with as many tokens and the
same times; the order is the same for all clips of a length. ``no_sound`` withholds sound, ``rotated_options`` moves
every option by one place, ``blind`` withholds all media. Only questions that a control changes are counted.
"""

from __future__ import annotations

import random
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import fmean
from typing import TYPE_CHECKING, Any

from vlframe.contracts.modalities import TAGS, modality_of
from vlframe.evaluation.crossed import Rows, over_items

if TYPE_CHECKING:
    from vlframe.contracts.batch import Batch
    from vlframe.contracts.sample import Sample

BLIND = "blind"
ORDERS = ("one_frame", "shuffled", "reversed")
NO_SOUND, ROTATED = "no_sound", "rotated_options"
SOUND = ("audio",)
# Of each: how the questions are asked, and what a score that changes by it uses.
MEANINGS = {
    BLIND: ("without any media", "the media"),
    "one_frame": ("when the middle frame stands in for all", "more than one frame"),
    "shuffled": ("when the frames are shuffled", "the order of the frames"),
    "reversed": ("when the frames are reversed", "the direction of time"),
    NO_SOUND: ("without sound", "sound"),
    ROTATED: ("when the options change places", "the places of the options"),
}


@lru_cache
def order_of(control: str, frames: int) -> tuple[int, ...]:
    """Return which frame is shown at each place. ``shuffled``: of many drawn orders the one that has as many pairs of
    frames turned round as not, no frame at its own place."""
    if control == "one_frame":
        return (frames // 2,) * frames
    if control == "reversed":
        return tuple(range(frames))[::-1]
    draws = random.Random(0)
    drawn = [tuple(draws.sample(range(frames), frames)) for _ in range(200)]
    apart = [order for order in drawn if all(at != frame for at, frame in enumerate(order))] or [
        (*range(1, frames), 0)]  # fmt: skip
    return min(apart, key=lambda order: (abs(2 * _turned(order) - frames * (frames - 1) // 2), order))


def _turned(order: Sequence[int]) -> int:
    return sum(later < earlier for at, earlier in enumerate(order) for later in order[at + 1 :])


def in_order(batch: Batch, control: str) -> Batch | None:
    """Return the batch with the frames of its clips in another order; None if it has no clip of several frames."""
    files = tuple(
        replace(file, order=order_of(control, frames))
        if file.kind != "image" and modality_of(file.kind).name == "video" and (frames := _frames(file)) > 1 else file
        for file in batch.files
    )  # fmt: skip
    return replace(batch, files=files) if files != batch.files else None


def _frames(file: Any) -> int:
    return len(file.tensor) // file.tiles


def touches(control: str, sample: Sample) -> bool:
    """Return whether a control changes anything in a question. (The benchmark knows about rotated options.)"""
    kinds = {item.kind for item in sample.media}
    wanted = {BLIND: set(TAGS), NO_SOUND: set(SOUND)}
    return bool(kinds & wanted.get(control, {kind for kind in kinds - {"image"} if modality_of(kind).name == "video"}))


@dataclass(frozen=True)
class Control:
    """What became of a primary score under a control, on the ``n`` questions that it touches: ``plain`` without it,
    ``score`` with it, and the paired difference, clustered by clip. NaN where nothing is known."""

    n: int
    plain: float
    score: float
    low: float
    high: float
    p: float

    @property
    def difference(self) -> float:
        return self.score - self.plain

    def tree(self) -> dict[str, Any]:
        values = {"n": self.n, "plain": self.plain, "score": self.score, "difference": self.difference,
                  "low": self.low, "high": self.high, "p": self.p}  # fmt: skip
        return {key: None if value != value else value for key, value in values.items()}

    @classmethod
    def from_tree(cls, tree: Mapping[str, Any]) -> Control:
        names = ("plain", "score", "low", "high", "p")
        return cls(tree["n"], *(float("nan") if tree[name] is None else tree[name] for name in names))

    @property
    def changes(self) -> bool | None:
        """Return whether the score differs under the control; None: unknown."""
        return None if self.low != self.low else not self.low <= 0 <= self.high


def paired_control(pairs: Sequence[tuple[float, float, Hashable]], *, shares: bool) -> Control:
    """Return a control's result from answers of one run: the worth of each without it, with it, and its clip."""
    plain, taken = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    return control_over_seeds([plain], [taken], [pair[2] for pair in pairs], shares=shares)


def control_over_seeds(plain: Rows, taken: Rows, clips: Sequence[Hashable], *, shares: bool) -> Control:
    """Return a control's result for several seeds (rows), for these weights: their mean over other clips."""
    found = over_items(plain, taken, clips, shares=shares)
    before, after = (fmean(value for row in rows for value in row) for rows in (plain, taken))
    return Control(len(clips), before, after, found.low, found.high, found.p)


def control_words(name: str, control: Control) -> str:
    """Say in words whether the score uses what the control takes away. Differences are in points, hundredths."""
    how, what = MEANINGS[name]
    if control.changes is None:
        return f"{how} the score is {control.score:.3f} in place of {control.plain:.3f}, of too little to say more"
    size = f"{100 * abs(control.difference):.1f} points"
    inside = f"95 % {_points(control.low)} to {_points(control.high)}"
    if control.changes:
        way = "falls" if control.difference < 0 else "rises"
        return f"the score {way} by {size} {how} ({inside}): it uses {what}"
    return (
        f"the score does not change significantly {how} (difference {_points(control.difference)} points, {inside}): "
        f"no evidence that it uses {what}"
    )


def _points(value: float) -> str:
    return f"{100 * value:+.1f}".replace("-", "−")
