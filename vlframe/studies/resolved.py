"""The runs of a study, resolved: what each cell's overrides compose to, its digest, and why a cell does not compose."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlframe.config.asking import benchmarks_of
from vlframe.errors import ConfigError, UserError, one_line
from vlframe.studies.digest import changes, digest, identity
from vlframe.studies.ledger import Entry, cell_folder, entries, read_entry
from vlframe.studies.study import Cell, Study

if TYPE_CHECKING:
    from vlframe.config.schema import RunConfig
    from vlframe.registry.registry import Registry


@dataclass(frozen=True)
class Planned:
    """One cell with one seed. ``why`` says why it cannot be composed; the rest is then unknown."""

    cell: Cell
    seed: int
    words: tuple[str, ...]  # all overrides, with the seed
    config: RunConfig | None = None
    identity: dict[str, Any] | None = None
    digest: str = ""
    why: str = ""

    def folder(self, study: Study) -> Path:
        return cell_folder(study.folder, self.cell.label, self.seed, self.digest)

    def entry(self, study: Study) -> Entry:
        """Read what became of it."""
        if self.why:
            return Entry(study.folder / "cells", {"label": self.cell.label, "seed": self.seed}, "failed", why=self.why)
        return read_entry(self.folder(study))


def resolved(study: Study, registry: Registry, more: Sequence[str] = ()) -> list[Planned]:
    """Compose every cell and seed, all cells with the first seed first. ``more`` are overrides that no digest counts.

    ConfigError: two cells are the same run, by their digest.
    """
    each = _refers_to_the_seed(study, registry, more)
    by_cell = [list(_seeds(cell, study, registry, more, each)) for cell in study.cells]
    found = [row[at] for at in range(len(study.config.seeds)) for row in by_cell]
    known: dict[str, Planned] = {}
    for item in found:
        twin = known.setdefault(item.digest, item) if item.digest else item
        if twin is not item:
            raise ConfigError(
                f"{study.file}: cells {twin.cell.label!r} and {item.cell.label!r} are the same run (digest "
                f"{item.digest}): their overrides come to one config; leave one out, or look for a typing mistake"
            )
    return found


def changed(study: Study, planned: Sequence[Planned]) -> list[str]:
    """Say which cells are no longer what a result in the study's folder was made by, and in what they changed."""
    wanted, said = {item.digest for item in planned}, []
    left = [entry for entry in entries(study.folder) if entry.digest not in wanted]
    for item in planned:
        if not item.identity or item.entry(study).standing not in ("new", "gone"):
            continue
        for entry in left:
            same = (entry.label, entry.seed) == (item.cell.label, item.seed)
            if same and "config" in entry.identity and "versions" in entry.identity:
                keys = "; ".join(map(str, changes(entry.identity, item.identity)))
                said.append(f"{item.cell.label}, seed {item.seed} has changed ({keys}); the old result stays in "
                            f"{entry.folder}")  # fmt: skip
    return said


def _refers_to_the_seed(study: Study, registry: Registry, more: Sequence[str]) -> bool:
    """Return whether a config uses the seed beyond its own key: then each seed is composed, which takes its time."""
    seeds, words = study.config.seeds, [word for cell in study.cells for word in cell.words]
    if len(seeds) == 1 or any("${seed}" in word for word in words):
        return True
    first, second = (_composed(study.cells[0], seed, registry, more).config for seed in seeds[:2])
    return first is not None and second != replace(first, seed=seeds[1])


def _seeds(cell: Cell, study: Study, registry: Registry, more: Sequence[str], each: bool) -> Iterator[Planned]:
    first, *others = study.config.seeds
    composed = _composed(cell, first, registry, more)
    yield composed
    for seed in others:
        yield _composed(cell, seed, registry, more) if each else _with_seed(composed, seed, registry)


def _composed(cell: Cell, seed: int, registry: Registry, more: Sequence[str]) -> Planned:
    from vlframe.composer.command_line import parse
    from vlframe.composer.compose import compose_line

    words = (*cell.words, *more, f"seed={seed}")
    try:
        config = compose_line("train", parse("train", words), registry)
        if not benchmarks_of(config):
            raise ConfigError("it has no benchmark, so there is nothing to compare; say benchmarks: [<name>]")
        return _identified(Planned(cell, seed, words, config), registry)
    except UserError as error:
        return Planned(cell, seed, words, why=one_line(error))


def _with_seed(first: Planned, seed: int, registry: Registry) -> Planned:
    words = (*first.words[:-1], f"seed={seed}")
    if first.config is None:
        return Planned(first.cell, seed, words, why=first.why)
    return _identified(Planned(first.cell, seed, words, replace(first.config, seed=seed)), registry)


def _identified(item: Planned, registry: Registry) -> Planned:
    assert item.config is not None
    found = identity(item.config, registry)
    return replace(item, identity=found, digest=digest(found))
