"""The same questions asked in several ways, side by side in one batch, so that their media are decoded once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vlframe.contracts.batch import Batch


class SideBySide:
    """A map-style data set of questions: each with its prepared rows by the way in which it is asked. ``sides`` has for
    each way a data set and the ids of what is in it; a question need not be in all.
    """

    def __init__(self, names: Sequence[str], sides: Mapping[str, tuple[Any, Sequence[str]]]) -> None:
        self.names = names
        self.sides = {way: (rows, {name: at for at, name in enumerate(ids)}) for way, (rows, ids) in sides.items()}

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, number: int) -> dict[str, Any]:
        name = self.names[number]
        return {way: rows[places[name]] for way, (rows, places) in self.sides.items() if name in places}


@dataclass(frozen=True)
class CollateSides:
    """Collates the rows of each way into a batch of its own."""

    collate: Any  # rows -> Batch

    def __call__(self, items: Sequence[Mapping[str, Any]]) -> dict[str, Batch]:
        ways = dict.fromkeys(way for item in items for way in item)
        return {way: self.collate([item[way] for item in items if way in item]) for way in ways}
