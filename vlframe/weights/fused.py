"""Joins and splits fused tensors, whose pieces are found by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from vlframe.contracts.tensor_names import Fused
from vlframe.errors import WeightsError
from vlframe.weights.templates import Template

if TYPE_CHECKING:
    from torch import Tensor


SHOWN = 8


@dataclass(frozen=True)
class Piece:
    """The place of a name in a group: the whole it belongs to, its number in the stack, and which piece it is."""

    whole: str
    number: int
    place: int


@dataclass
class Group:
    """A ``Fused`` with its templates compiled."""

    fused: Fused
    pieces: list[Template] = field(init=False)
    whole: Template = field(init=False)

    def __post_init__(self) -> None:
        self.pieces = [Template(text) for text in self.fused.pieces]
        self.whole = Template(self.fused.whole)
        stacked = {self.fused.stacked: "int"} if self.fused.stacked else {}
        for piece in self.pieces:
            assert piece.kinds == self.whole.kinds | stacked, (
                f"{piece.text!r} and {self.whole.text!r} do not have the same fields (besides {self.fused.stacked!r})"
            )

    @property
    def theirs(self) -> list[Template]:
        return [self.whole] if self.fused.whole_is_theirs else self.pieces

    def place(self, name: str) -> Piece | None:
        """Return the place of a piece of this name."""
        for place, template in enumerate(self.pieces):
            fields = template.match(name)
            if fields is not None:
                number = int(fields[self.fused.stacked]) if self.fused.stacked else 0
                return Piece(self.whole.fill(fields), number, place)
        return None

    def names_of(self, whole: str) -> list[str] | None:
        """Return the names of the pieces of a whole; the stack's number stays a field of the template."""
        fields = self.whole.match(whole)
        return None if fields is None else [piece.fill(fields) for piece in self.pieces]

    def join(self, tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor, tuple[str, ...]]]:
        """Yield each whole with its tensor and the names it was made from. WeightsError if pieces are missing."""
        import torch

        found: dict[str, dict[tuple[int, int], str]] = {}
        for name in tensors:
            piece = self.place(name)
            if piece is not None:
                found.setdefault(piece.whole, {})[piece.number, piece.place] = name
        for whole, names in found.items():
            height = 1 + max(number for number, _ in names)
            if len(names) != height * len(self.pieces):  # compared first: a damaged name may contain any number
                spots = ((number, place) for number in range(height) for place in range(len(self.pieces)))
                absent = [self._name(whole, *spot) for spot in islice((s for s in spots if s not in names), SHOWN)]
                raise WeightsError(f"{whole} is put together from several tensors, and there is no {', '.join(absent)}")
            grid = [[(number, place) for place in range(len(self.pieces))] for number in range(height)]
            joined = [self._join_one([tensors[names[spot]] for spot in row]) for row in grid]
            made_of = tuple(names[spot] for row in grid for spot in row)
            yield whole, torch.stack(joined) if self.fused.stacked else joined[0], made_of

    def split(self, whole: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yield the pieces of a whole, exactly those that ``join`` made it from."""
        for number, layer in enumerate(tensor if self.fused.stacked else [tensor]):
            pieces = self.fused.fusion.split(layer, len(self.pieces)) if self._fuses else [layer]
            for place, piece in enumerate(pieces):
                yield self._name(whole, number, place), piece.contiguous()

    @property
    def _fuses(self) -> bool:
        """Return whether pieces are fused; a single piece in a stack is not."""
        return len(self.pieces) > 1 or not self.fused.stacked

    def _join_one(self, pieces: list[Tensor]) -> Tensor:
        return self.fused.fusion.join(pieces) if self._fuses else pieces[0]

    def _name(self, whole: str, number: int, place: int) -> str:
        fields = self.whole.match(whole)
        assert fields is not None
        stacked = {self.fused.stacked: str(number)} if self.fused.stacked else {}
        return self.pieces[place].fill(fields | stacked)
