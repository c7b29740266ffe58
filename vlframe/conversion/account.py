"""Accounts for every tensor of a conversion: what became of it, and which file it came from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vlframe.errors import WeightsError, some_of
from vlframe.table import render

if TYPE_CHECKING:
    from torch import Tensor, nn

    from vlframe.contracts.checkpoint_format import ImportedCheckpoint
    from vlframe.weights.names import Joined, NameTable

SHOWN = 8
FATES = {  # the heading of each in the printed table
    "loaded": "loaded",
    "repeated": "repeated",  # a second name of a tensor that is loaded
    "unused": "unused",  # known, not used by our model, kept for an export
    "buffer": "buffers",  # recomputed, kept for an export
}


@dataclass(frozen=True)
class TensorAccount:
    """A tensor of the checkpoint, under its name there. ``replaced`` are earlier files that also had it."""

    name: str
    part: str  # empty if it belongs to no part
    became: str  # one of FATES
    file: str
    replaced: tuple[str, ...] = ()


@dataclass
class PartAccount:
    """The tensors of one part and their problems, by their names in the checkpoint."""

    part: str
    source: str = ""  # of weights that the checkpoint does not contain
    tensors: list[TensorAccount] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    misshapen: list[str] = field(default_factory=list)

    def count(self, fate: str) -> int:
        return sum(item.became == fate for item in self.tensors)

    @property
    def problems(self) -> Iterator[str]:
        for title in ("missing", "unexpected", "misshapen"):
            found = getattr(self, title)
            if found:
                yield f"{self.part or 'no part'}: {len(found)} {title}: {some_of(found)}"


@dataclass
class Sorted:
    """The tensors of each part under our names, the remaining ones under theirs, and the account of both."""

    kept: dict[str, dict[str, Tensor]]
    left: dict[str, Tensor]
    accounts: list[PartAccount]


def table(accounts: list[PartAccount]) -> str:
    """Return one row per part: how many tensors became what, and which files they came from."""
    rows = []
    for item in accounts:
        files = Counter(tensor.file for tensor in item.tensors)
        rows.append(
            {
                "part": item.part or "(none)",
                **{heading: item.count(fate) for fate, heading in FATES.items()},
                "replaced": sum(bool(tensor.replaced) for tensor in item.tensors),
                "files": some_of([f"{file} ({count})" for file, count in files.items()]) or "–",
                "others from": item.source,
            }
        )
    return render(rows)


class Sorter:
    """Sorts an imported checkpoint into the parts (on the meta device) of the model that its config describes."""

    def __init__(self, imported: ImportedCheckpoint, names: NameTable, parts: Mapping[str, nn.Module]) -> None:
        self.stored = imported.tensors
        self.names = names
        self.states = {part: _State(module, part in imported.adapters) for part, module in parts.items()}
        self.accounts = {part: PartAccount(part) for part in ("", *parts)}
        self.left: dict[str, Tensor] = {}

    def sort(self, sources: Mapping[str, str]) -> Sorted:
        """Sort all tensors. ``sources`` are those of the parts; a part with one may be missing from the checkpoint."""
        routed = {name: stored.tensor for name, stored in self.stored.items() if self._is_routed(name)}
        joined = self.names.join(routed)
        kept = {part: self._sort_part(part, joined.get(part, {})) for part in self.states}
        for part, account in self.accounts.items():
            account.source = sources.get(part, "")
            if account.source and not account.count("loaded") and not account.misshapen:
                account.missing.clear()  # the part comes from its own source
        return Sorted(kept, self.left, [item for item in self.accounts.values() if item.part or item.tensors])

    def problems(self) -> list[str]:
        return [problem for account in self.accounts.values() for problem in account.problems]

    def _is_routed(self, name: str) -> bool:
        """Return whether a tensor will be loaded; tensors of no part and second names are accounted for here."""
        place = self.names.ours(name)
        if place is None or place.part not in self.states:
            if not self._leave(name, ""):
                self.accounts[""].unexpected.append(name)
            return False
        first = self.names.first_name(name)
        state = self.states[place.part]
        if first not in self.stored or place.name in state.distinct:
            return True
        if _equal(self.stored[first].tensor, self.stored[name].tensor):
            self._book(name, place.part, "repeated")
        else:
            self.accounts[place.part].unexpected.append(f"{name}, which differs from {first},")
        return False

    def _sort_part(self, part: str, joined: Mapping[str, Joined]) -> dict[str, Tensor]:
        account, state = self.accounts[part], self.states[part]
        kept: dict[str, Tensor] = {}
        for name, item in joined.items():
            if name not in state.shapes:
                account.unexpected += [theirs for theirs in item.made_of if not self._leave(theirs, part)]
            elif tuple(item.tensor.shape) != state.shapes[name]:
                theirs = " with ".join(item.made_of[:SHOWN])
                account.misshapen.append(f"{theirs} is {tuple(item.tensor.shape)}, not {state.shapes[name]}")
            else:
                kept[name] = item.tensor
                for theirs in item.made_of:
                    self._book(theirs, part, "loaded")
        account.missing += [
            theirs for name in state.shapes if name not in joined for theirs in self._missing(part, name)
        ]
        return kept

    def _missing(self, part: str, name: str) -> tuple[str, ...]:
        """Return the checkpoint names of one of our tensors that was not found; none if it exists under its
        first name.
        """
        theirs = self.names.theirs(part, name)
        return () if self.names.first_name(theirs[0]) in self.stored else theirs

    def _leave(self, name: str, part: str) -> bool:
        """Keep a tensor for an export if it is known that our model does not use it."""
        fate = "buffer" if self.names.is_buffer(name) else "unused" if self.names.is_unused(name) else None
        if fate is not None:
            self.left.setdefault(name, self.stored[name].tensor)
            self._book(name, part, fate)
        return fate is not None

    def _book(self, name: str, part: str, fate: str) -> None:
        stored = self.stored[name]
        entry = TensorAccount(name, part, fate, stored.file, stored.replaced)
        if entry not in self.accounts[part].tensors[-1:]:  # not again for each piece of one of their tensors
            self.accounts[part].tensors.append(entry)


class _State:
    """The names and shapes that a part loads, and which of them are distinct tensors."""

    def __init__(self, module: nn.Module, adapters_only: bool) -> None:
        from vlframe.model.adapters import is_adapter

        state: dict[str, Any] = module.state_dict(keep_vars=True)
        state = {name: value for name, value in state.items() if is_adapter(name) or not adapters_only}
        self.shapes = {name: tuple(value.shape) for name, value in state.items()}
        first = {id(value): name for name, value in reversed(state.items())}
        self.distinct = set(first.values())  # without second names of tied tensors


def _equal(one: Tensor, other: Tensor) -> bool:
    import torch

    return torch.equal(one, other)


def refuse(source: object, problems: list[str]) -> None:
    """Raise WeightsError if there are problems."""
    if problems:
        raise WeightsError(f"{source} is not what its config says. {'; '.join(problems)}")
