"""Maps another project's tensor names to ours by a system's ``TensorNames``; nothing is dropped silently."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from vlframe.contracts.tensor_names import Route, TensorNames
from vlframe.errors import WeightsError
from vlframe.weights.fused import Group
from vlframe.weights.templates import Template

if TYPE_CHECKING:
    from torch import Tensor


T = TypeVar("T")


class Place(NamedTuple):
    """One of our parts and a name in it."""

    part: str
    name: str


@dataclass(frozen=True)
class Joined:
    """One of our tensors and their names for it: one, or those of the pieces it is fused from."""

    tensor: Tensor
    made_of: tuple[str, ...]


class _Route(NamedTuple):
    route: Route
    theirs: Template
    ours: Template
    read: Template  # ``theirs``, or another spelling of it


class NameTable:
    """Maps names by a ``TensorNames``, in both directions. A *canonical* name is one of theirs in the spelling
    that is written.
    """

    def __init__(self, names: TensorNames) -> None:
        self.names = names
        self.groups = [Group(fused) for fused in names.fused]
        self._routes = [entry for route in names.routes for entry in _compiled(route)]
        self._repeated = [(Template(item.theirs), Template(item.first)) for item in names.repeated]
        self._unused = [Template(text) for text in names.unused]
        self._buffers = [Template(text) for text in names.buffers]
        self._find = lru_cache(maxsize=None)(self._found)

    # --- their names ---

    def canonical(self, name: str) -> str | None:
        """Return the canonical form of a file's name, without wrappers; None if the table does not know it."""
        for bare in self._unwrapped(name):
            found = self._find(bare)
            if found is not None:
                return found[0]
            if self.is_buffer(bare) or self.is_unused(bare):
                return bare
        return None

    def ours(self, name: str) -> Place | None:
        """Return our part and name for a canonical name (for a piece, those of the whole); None if no route matches."""
        found = self._find(name)
        return found[1] if found is not None else None

    def is_unused(self, name: str) -> bool:
        return any(template.match(name) is not None for template in self._unused)

    def is_buffer(self, name: str) -> bool:
        return any(template.match(name) is not None for template in self._buffers)

    def first_name(self, name: str) -> str | None:
        """Return the first name of the tensor if this is a second name of it, otherwise None."""
        for template, first in self._repeated:
            fields = template.match(name)
            if fields is not None and first.fill(fields) != name:
                return first.fill(fields)
        return None

    # --- our names ---

    def theirs(self, part: str, name: str) -> tuple[str, ...]:
        """Return their name for one of our tensors, or the names of its pieces. WeightsError if there is none."""
        for group in self._of_part(part):
            if group.fused.whole_is_theirs:
                piece = group.place(name)
                if piece is not None:
                    return (piece.whole,)
            elif (pieces := group.names_of(name)) is not None:
                return tuple(pieces)
        found = [
            (entry.ours, entry.theirs.fill(fields))
            for entry in self._routes
            if entry.route.part == part and entry.read is entry.theirs
            if (fields := entry.ours.match(name)) is not None
        ]
        if not found:
            raise WeightsError(f"{part} has the tensor {name}, which has no name in the other format")
        return (_most_special(found, f"{part} {name}"),)

    # --- tensors ---

    def join(self, tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Joined]]:
        """Convert tensors under canonical names to ours, by part. WeightsError for one without a route."""
        parts: dict[str, dict[str, Joined]] = {}
        taken: set[str] = set()
        for group in self.groups:
            if group.fused.whole_is_theirs:
                wholes = [name for name in tensors if group.whole.match(name) is not None]
                made: list[tuple[str, Tensor, tuple[str, ...]]] = [
                    (n, t, (whole,)) for whole in wholes for n, t in group.split(whole, tensors[whole])
                ]
            else:
                made = list(group.join(tensors))
            for name, tensor, made_of in made:
                _put(parts, Place(group.fused.part, name), Joined(tensor, made_of))
                taken.update(made_of)
        for name, tensor in tensors.items():
            if name not in taken:
                place = self.ours(name)
                if place is None:
                    raise WeightsError(
                        f"the tensor {name} belongs to no part: its name is in no row of the format's table of names"
                    )
                _put(parts, place, Joined(tensor, (name,)))
        return parts

    def split(self, parts: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """Convert our tensors by part to theirs under canonical names; the inverse of ``join``."""
        theirs: dict[str, Tensor] = {}
        for part, tensors in parts.items():
            for name, tensor in self._split_part(part, tensors):
                if name in theirs:
                    raise WeightsError(f"two of our tensors would both be called {name} in the other format")
                theirs[name] = tensor
        return theirs

    def _split_part(self, part: str, tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
        taken: set[str] = set()
        for group in self._of_part(part):
            if group.fused.whole_is_theirs:
                for whole, tensor, made_of in group.join(tensors):
                    taken.update(made_of)
                    yield whole, tensor
            else:
                for name in [name for name in tensors if group.whole.match(name) is not None]:
                    taken.add(name)
                    yield from group.split(name, tensors[name])
        for name, tensor in tensors.items():
            if name not in taken:
                yield self.theirs(part, name)[0], tensor

    def _of_part(self, part: str) -> Iterator[Group]:
        return (group for group in self.groups if group.fused.part == part)

    def _unwrapped(self, name: str) -> Iterator[str]:
        """Yield the name, and what remains as wrappers are removed one by one."""
        yield name
        for wrapper in self.names.wrappers:
            if name.startswith(wrapper):
                yield from self._unwrapped(name.removeprefix(wrapper))

    def _found(self, name: str) -> tuple[str, Place] | None:
        """Return the canonical spelling of a name without wrappers, and its place. WeightsError if it is ambiguous."""
        fused = [
            (template, (group, fields))
            for group in self.groups
            for template in group.theirs
            if (fields := template.match(name)) is not None
        ]
        if fused:
            group, fields = _most_special(fused, name)
            piece = group.place(name)
            whole = piece.whole if piece and not group.fused.whole_is_theirs else group.pieces[0].fill(fields)
            return name, Place(group.fused.part, whole)
        found = [
            (entry.read, (entry.theirs.fill(fields), Place(entry.route.part, entry.ours.fill(fields))))
            for entry in self._routes
            if (fields := entry.read.match(name)) is not None
        ]
        if not found:
            return None
        canonical, place = _most_special(found, name)
        try:
            back = self.theirs(*place)
        except WeightsError as error:
            raise WeightsError(
                f"{name} becomes {place.name} of the {place.part}, which cannot be written back: {error}"
            ) from error
        if back != (canonical,):
            raise WeightsError(
                f"{name} becomes {place.name} of the {place.part}, which is called {', '.join(back)} there; the table "
                "of names is not clear about it"
            )
        return canonical, place


def _compiled(route: Route) -> Iterable[_Route]:
    theirs, ours = Template(route.theirs), Template(route.ours)
    for read in (theirs, *map(Template, route.also)):
        assert read.kinds == theirs.kinds == ours.kinds, f"{read.text!r} and {ours.text!r} do not have the same fields"
        yield _Route(route, theirs, ours, read)


def _most_special(found: list[tuple[Template, T]], name: str) -> T:
    """Return the value of the template that is a special case of all other matches. WeightsError if there is none."""
    for template, result in found:
        if all(other.covers(template) for other, _ in found) and not any(
            other_result != result and template.covers(other) for other, other_result in found if other is not template
        ):
            return result
    several = " and ".join(repr(template.text) for template, _ in found)
    raise WeightsError(f"{name} is ambiguous: {several} both describe it, and neither is a special case of the other")


def _put(parts: dict[str, dict[str, Joined]], place: Place, joined: Joined) -> None:
    tensors = parts.setdefault(place.part, {})
    if place.name in tensors:
        names = ", ".join((*tensors[place.name].made_of, *joined.made_of))
        raise WeightsError(f"{place.name} of the {place.part} would be made of several tensors: {names}")
    tensors[place.name] = joined
