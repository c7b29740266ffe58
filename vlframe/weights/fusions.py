"""Ways to join several tensors into one, each with its exact inverse."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vlframe.errors import WeightsError


@dataclass(frozen=True)
class Concatenated:
    """Joins pieces along the first dimension, such as q, k and v in one ``qkv``.

    ``shares`` are the sizes of the sections relative to each other (keys of grouped-query attention have fewer rows
    than queries); empty: equal ones. The sections listed in ``zeros`` have no piece and are zero, like the key bias of
    towers that train none.
    """

    shares: tuple[int, ...] = ()
    zeros: tuple[int, ...] = ()

    def join(self, pieces: Sequence[Tensor]) -> Tensor:
        count = len(pieces) + len(self.zeros)
        shares = self._shares(count)
        held = [place for place in range(count) if place not in self.zeros]
        unit, rest = divmod(pieces[0].shape[0], shares[held[0]])
        fits = all(piece.shape[0] == unit * shares[place] for place, piece in zip(held, pieces, strict=True))
        if rest or not fits or len({(piece.shape[1:], piece.dtype) for piece in pieces}) != 1:
            shapes = ", ".join(str(tuple(piece.shape)) for piece in pieces)
            raise WeightsError(f"tensors of shapes {shapes} cannot be joined in shares {shares}")
        queue = iter(pieces)
        zero = pieces[0].new_zeros
        rows = [unit * share for share in shares]
        sections = [
            zero(rows[place], *pieces[0].shape[1:]) if place in self.zeros else next(queue) for place in range(count)
        ]
        return torch.cat(sections)

    def split(self, whole: Tensor, count: int) -> list[Tensor]:
        shares = self._shares(count + len(self.zeros))
        if whole.shape[0] % sum(shares):
            raise WeightsError(f"a tensor of shape {tuple(whole.shape)} cannot be split in shares {shares}")
        unit = whole.shape[0] // sum(shares)
        sections = whole.split([unit * share for share in shares])
        if any(bool(sections[place].any()) for place in self.zeros):
            raise WeightsError(
                f"section {self.zeros[0]} of a tensor of shape {tuple(whole.shape)} is not zero (it was trained), and "
                "the other format has no place for it"
            )
        return [section.contiguous() for place, section in enumerate(sections) if place not in self.zeros]

    def _shares(self, count: int) -> tuple[int, ...]:
        assert len(self.shares) in (0, count), f"{len(self.shares)} shares for {count} sections"
        return self.shares or (1,) * count


@dataclass(frozen=True)
class Interleaved:
    """Joins pieces of equal shape whose rows alternate by attention head: head 0 of q, of k, of v, head 1 of q, ..."""

    heads: int

    def join(self, pieces: Sequence[Tensor]) -> Tensor:
        if len({piece.shape for piece in pieces}) != 1 or pieces[0].shape[0] % self.heads:
            shapes = ", ".join(str(tuple(piece.shape)) for piece in pieces)
            raise WeightsError(f"tensors of shapes {shapes} cannot be interleaved by {self.heads} heads")
        return torch.stack([piece.unflatten(0, (self.heads, -1)) for piece in pieces], 1).flatten(0, 2)

    def split(self, whole: Tensor, count: int) -> list[Tensor]:
        if whole.shape[0] % (self.heads * count):
            raise WeightsError(f"a tensor of shape {tuple(whole.shape)} has no {count} pieces of {self.heads} heads")
        by_head = whole.unflatten(0, (self.heads, count, -1))
        return [by_head[:, place].flatten(0, 1).contiguous() for place in range(count)]
