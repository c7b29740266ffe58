"""The scenes of clips: four kinds, each a handful of discrete choices on eight equal time slots.

The choices rule out short cuts (exactly, in the distribution that scenes are drawn from):

* ``Motion``: the middle of the path is uniform over a range, whatever the direction, so the middle frame and the mean
  over frames do not reveal the direction. (The first or last frame alone only gives a hint: the best guess from it is
  right in 48 cases of 100, where 25 is chance.)
* ``Blink``: the shape is shown in four of the eight slots whatever the count, and each rhythm is as likely as its
  complement, so neither one frame nor the mean over frames reveals how often it appeared.
* ``Switch``: each of two shapes appears once or vanishes once, with equal probability, so the content of one slot does
  not reveal the order. (It can show the two colours: whoever sees them is right half of the time.)
* ``Beep``: the flash times before and after the beep are distributed equally, so the picture alone reveals nothing.
  (The sound alone is right in two cases of three: the earliest beeps are always before, the last ones after.)

Motions and switches played backwards are as likely as played forwards, so no model that ignores the order of frames can
tell direction or order. A scene belongs to one split, by a hash of its choices: see ``split_of``.
"""

import hashlib
import itertools
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from random import Random
from typing import ClassVar, Protocol

from vlframe_motionqa.questions import COLOURS, COUNTS, DIRECTIONS, EIGHTHS, SHAPES

SLOTS = 8
CELLS = 16  # positions of a shape along a side; a clip is shifted by less than one (see ``rendering``)
RADIUS = 0.2  # of a shape, as a fraction of the picture's width
LEAST_GAP = 3  # slots between the two switches
TRAVEL = 0.3  # distance a moving shape travels from the first slot to the last, in widths, unless a data set changes it
STEPS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
SPLITS = ("train", "validation")
VALIDATION_SHARE = 0.2


@dataclass(frozen=True)
class Spot:
    """A shape and its position: its centre in widths of the picture, from the top left corner."""

    shape: str
    colour: str
    x: float
    y: float


class Scene(Protocol):
    kind: ClassVar[str]

    def answers(self) -> dict[str, str]: ...  # by category of question
    def spots(self, slot: int) -> list[Spot]: ...  # the shapes visible throughout a slot


@dataclass(frozen=True)
class Motion:
    """One shape moves steadily; ``start`` is its place along and across the path, ``travel`` its distance in widths."""

    kind: ClassVar[str] = "motion"
    direction: str
    shape: str
    colour: str
    start: tuple[int, int]
    travel: float = TRAVEL

    @classmethod
    def draw(cls, index: int, random: Random) -> "Motion":
        turn, first = divmod(index, len(DIRECTIONS))
        return cls(
            direction=DIRECTIONS[first],
            shape=SHAPES[(first + turn) % len(SHAPES)],
            colour=COLOURS[(first + turn // len(SHAPES)) % len(COLOURS)],
            start=_cell(random),
        )

    def answers(self) -> dict[str, str]:
        return {"direction": self.direction, "shape": self.shape, "colour": self.colour}

    def spots(self, slot: int) -> list[Spot]:
        along, across = (cell / (CELLS - 1) for cell in self.start)
        room = 1 - 1 / CELLS  # the clip's shift needs the rest
        way = (room - self.travel) * along + self.travel * slot / (SLOTS - 1)
        side = self.travel / 2 + (room - self.travel) * across  # the same range as the middles of the paths
        step_x, step_y = STEPS[self.direction]
        way = way if step_x + step_y > 0 else room - way
        x, y = (way, side) if step_x else (side, way)
        return [Spot(self.shape, self.colour, x, y)]


@dataclass(frozen=True)
class Blink:
    """One shape appears and disappears one to four times; ``rhythm`` has one bit for each slot."""

    kind: ClassVar[str] = "blink"
    rhythm: tuple[int, ...]
    colour: str
    shape: str
    place: tuple[int, int]

    @classmethod
    def draw(cls, index: int, random: Random) -> "Blink":
        turn, first = divmod(index, len(COUNTS))
        return cls(
            rhythm=_rhythm(first + 1, random),
            colour=COLOURS[(first + turn) % len(COLOURS)],
            shape=SHAPES[(first + turn // len(COLOURS)) % len(SHAPES)],
            place=_cell(random),
        )

    def answers(self) -> dict[str, str]:
        starts = sum(now > before for before, now in zip((0, *self.rhythm), self.rhythm, strict=False))
        return {"count": COUNTS[starts - 1], "colour": self.colour, "shape": self.shape}

    def spots(self, slot: int) -> list[Spot]:
        return [Spot(self.shape, self.colour, *_inside(self.place))] if self.rhythm[slot] else []


@dataclass(frozen=True)
class Switch:
    """Two shapes side by side; each appears once or vanishes once. The first of each pair is the earlier one's."""

    kind: ClassVar[str] = "switch"
    colours: tuple[str, str]
    times: tuple[int, int]  # the slots at whose beginning they appear or vanish
    there: tuple[int, int]  # whether they are there before that
    shape: str  # of both
    first_left: int
    height: int

    @classmethod
    def draw(cls, index: int, random: Random) -> "Switch":
        turn, first = divmod(index, len(COLOURS))
        second = (first + 1 + turn % (len(COLOURS) - 1)) % len(COLOURS)
        return cls(
            colours=(COLOURS[first], COLOURS[second]),
            times=random.choice([(one, two) for one in range(1, SLOTS) for two in range(one + LEAST_GAP, SLOTS)]),
            there=(random.randrange(2), random.randrange(2)),
            shape=random.choice(SHAPES),
            first_left=random.randrange(2),
            height=random.randrange(4),
        )

    def answers(self) -> dict[str, str]:
        return {"order": self.colours[0]}

    def spots(self, slot: int) -> list[Spot]:
        columns = (0.22, 0.72) if self.first_left else (0.72, 0.22)
        y = 0.5 + (self.height - 2) / CELLS
        return [
            Spot(self.shape, colour, x, y)
            for colour, x, time, there in zip(self.colours, columns, self.times, self.there, strict=True)
            if there != (slot >= time)
        ]


@dataclass(frozen=True)
class Beep:
    """A shape flashes for one slot; the beep is in the slot before or after it."""

    kind: ClassVar[str] = "beep"
    flash: int
    beep: int
    shape: str
    colour: str
    place: tuple[int, int]

    @classmethod
    def draw(cls, index: int, random: Random) -> "Beep":
        turn, after = divmod(index, 2)
        flash = 1 + turn % (SLOTS - 2)
        return cls(
            flash=flash,
            beep=flash + 1 if after else flash - 1,
            shape=random.choice(SHAPES),
            colour=random.choice(COLOURS),
            place=_cell(random),
        )

    def answers(self) -> dict[str, str]:
        return {
            "sound": "before" if self.beep < self.flash else "after",
            "flash": EIGHTHS[self.flash],
            "beep": EIGHTHS[self.beep],
        }

    def spots(self, slot: int) -> list[Spot]:
        return [Spot(self.shape, self.colour, *_inside(self.place))] if slot == self.flash else []


KINDS: dict[str, type[Motion] | type[Blink] | type[Switch] | type[Beep]] = {
    kind.kind: kind for kind in (Motion, Blink, Switch, Beep)
}
SHARES = {"motion": 2, "blink": 1, "switch": 1, "beep": 1}  # motion is what a small model learns last


def split_of(scene: Scene) -> str:
    """Return the split of a scene: a fifth of all scenes, picked by hash, is for validation, for every seed.

    The distance that a shape travels does not count.
    """
    choices = {name: value for name, value in asdict(scene).items() if name != "travel"}  # type: ignore[call-overload]
    text = json.dumps([scene.kind, choices], sort_keys=True)
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    return SPLITS[number < VALIDATION_SHARE * 2**64]


def _cell(random: Random) -> tuple[int, int]:
    return random.randrange(CELLS), random.randrange(CELLS)


def _inside(place: Sequence[int]) -> tuple[float, float]:
    """Return the centre for a cell, such that the whole shape is inside the picture."""
    x, y = (RADIUS + (1 - 2 * RADIUS - 1 / CELLS) * cell / (CELLS - 1) for cell in place)
    return x, y


def _rhythm(count: int, random: Random) -> tuple[int, ...]:
    """Draw four slots that are on, in ``count`` runs, and four off in as many, or the complement of that."""
    runs = zip(_lengths(count, random), _lengths(count, random), strict=True)
    rhythm = tuple(bit for on, off in runs for bit in [1] * on + [0] * off)
    return tuple(1 - bit for bit in rhythm) if random.randrange(2) else rhythm


def _lengths(count: int, random: Random) -> list[int]:
    """Draw ``count`` whole numbers whose sum is four."""
    borders = [0, *sorted(random.sample(range(1, SLOTS // 2), count - 1)), SLOTS // 2]
    return [end - start for start, end in itertools.pairwise(borders)]
