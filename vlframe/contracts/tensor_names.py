"""Tables of another project's names for the tensors of a model; data only, used by ``vlframe.NameTable``.

A name is described by a template: text, and fields for the varying parts. ``{field}`` is one word between dots,
``{field:int}`` a number, ``{field:path}`` anything, dots included. Both sides of a route have the same fields, so that
it works in both directions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Route:
    """Maps a tensor name in a checkpoint to a part of ours and its name there, and back.

    ``also`` are other spellings of ``theirs`` that files may have; they are read and never written.
    """

    theirs: str
    part: str
    ours: str
    also: tuple[str, ...] = ()


class Fusion(Protocol):
    """Joins several tensors into one, and splits it into exactly those again. WeightsError if that is impossible."""

    def join(self, pieces: Sequence[Tensor]) -> Tensor: ...
    def split(self, whole: Tensor, count: int) -> Sequence[Tensor]: ...


@dataclass(frozen=True)
class Fused:
    """Several tensors on one side that form a single one on the other; applied before routes.

    ``pieces`` are joined by ``fusion`` in their order. ``stacked`` names a number field that the pieces have and
    ``whole`` lacks: the pieces of each number from 0 are joined, and the results stacked along a new first dimension.
    Pieces are theirs and the whole is ours, unless ``whole_is_theirs``.
    """

    part: str
    pieces: tuple[str, ...]
    whole: str
    fusion: Fusion
    stacked: str | None = None
    whole_is_theirs: bool = False


@dataclass(frozen=True)
class Repeated:
    """Declares tensors called ``theirs`` to be second names of the tensor ``first`` (tied or shared weights)."""

    theirs: str
    first: str


@dataclass(frozen=True)
class TensorNames:
    """All tensor names of one system.

    If several routes match a name, the one that is a special case of all others is taken; anything else is an error.
    ``unused`` and ``buffers`` are templates for tensors that our model does not use and for those that are recomputed.
    ``wrappers`` are prefixes added by training tools; any number of them is removed.
    """

    routes: tuple[Route, ...]
    fused: tuple[Fused, ...] = ()
    repeated: tuple[Repeated, ...] = ()
    unused: tuple[str, ...] = ()
    buffers: tuple[str, ...] = ()
    wrappers: tuple[str, ...] = ()
