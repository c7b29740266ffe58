"""Registers what plugins provide with Hydra: typed options, presets, experiments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import version
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra

from vlframe.config import schema
from vlframe.config.open_schema import open_schema
from vlframe.config.typed import why_untyped
from vlframe.contracts.kinds import kinds
from vlframe.errors import PluginError
from vlframe.paths import conf_folder
from vlframe.registry.discovery import refuse_broken
from vlframe.registry.registry import Registry


@dataclass(frozen=True)
class Entry:
    """What Hydra's store has under a name."""

    schema: type
    many: bool  # a name of its own within its kind
    owner: str


_offered: list[Any] = []  # the registry that was offered last, with what it held and what it was offered with
_in_store: dict[tuple[str, str], Entry] = {}  # what Hydra's store, of which a process has one, has of it


def schemas() -> Mapping[str, type[Any]]:
    """Return the schema of each command's root config."""
    return {
        "train": schema.run_schema(),
        "evaluate": schema.EvaluateConfig,
        "predict": schema.PredictConfig,
        "convert": schema.ConvertConfig,
        "export": schema.ExportConfig,
    }


def open_registry(paths: Sequence[str] = (), strict: bool = False) -> Registry:
    """Open the installed plugins and those in single files, and register them with Hydra."""
    registry = Registry.installed(paths, strict)
    offer(registry)
    if strict:
        refuse_broken(registry.plugins)
    return registry


def offer(registry: Registry) -> None:
    """Put the schemas and every component into Hydra's store, unless it holds exactly them. PluginError: a preset with
    a name that is taken.
    """
    if [*map(id, _offered_of(registry))] != [*map(id, _offered)]:
        _set_aside_untyped(registry)
        _refuse_taken_names(registry, _folders(registry))
        _put(dict(_entries(registry)))
        _offered[:] = _offered_of(registry)


def _offered_of(registry: Registry) -> list[Any]:
    return [registry, *schemas().values(), *registry.rows(), *kinds().values()]


def _entries(registry: Registry) -> Iterator[tuple[tuple[str, str], Entry]]:
    """Yield what the store is to hold: group ("": none) and name, with what is there."""
    for name, node in schemas().items():
        stored = "run_schema" if name == "train" else f"{name}_schema"
        yield ("", stored), Entry(open_schema(node), many=False, owner="vlframe")  # type: ignore[arg-type]
    for row in registry.rows():
        kind, name = kinds()[row.component.kind], row.component.name
        yield (kind.group, name), Entry(row.schema, kind.many, row.plugin.name)


def _put(entries: Mapping[tuple[str, str], Entry]) -> None:
    """Make the store hold these, and none of an earlier registry. Only what differs is stored: a schema takes some
    milliseconds.
    """
    store = ConfigStore.instance()
    for group, name in _in_store.keys() - entries.keys():
        held = store.repo[group]
        del held[f"{name}.yaml"]
        if not held:
            del store.repo[group]
    for (group, name), entry in entries.items():
        if _in_store.get((group, name)) != entry:
            node: Any = {name: entry.schema} if entry.many else entry.schema
            store.store(group=group or None, name=name, node=node, provider=entry.owner)
    _in_store.clear()
    _in_store.update(entries)


class _Repository(ConfigRepository):
    """Hydra's repository, copied without what it holds. Hydra takes a deep copy for every composition, whose store has
    all schemas; it only reads them, and gives a copied repository other sources.
    """

    def __deepcopy__(self, memo: Any) -> _Repository:
        return copy(self)


@contextmanager
def hydra_with(registry: Registry, config_dir: Path | None = None, *, first: bool = False) -> Iterator[Hydra]:
    """Yield Hydra over vlframe's configs, the plugins', and a user's folder, which is searched last, or ``first``."""
    version.setbase("1.3")
    path = create_config_search_path(str(conf_folder()))
    for owner, folder in _folders(registry)[1:]:
        path.append(provider=owner, path=f"file://{folder}", anchor=SearchPathQuery(provider="main"))
    if config_dir is not None:
        anchor = None if first else SearchPathQuery(provider="schema")
        path.prepend(provider="command-line", path=f"file://{config_dir}", anchor=anchor)
    everywhere = GlobalHydra.instance()
    before, everywhere.hydra = everywhere.hydra, None
    try:
        hydra = Hydra.create_main_hydra2("vlframe", path)
        hydra.config_loader.repository = _Repository(path)  # type: ignore[attr-defined]
        yield hydra
    finally:
        GlobalHydra.instance().hydra = before


def _folders(registry: Registry) -> list[tuple[str, Path]]:
    """Return the folders of configs with their owners, vlframe's first."""
    plugins = [(plugin.name, plugin.conf) for plugin in registry.plugins if plugin.conf]
    return [("vlframe", conf_folder()), *plugins]


def _set_aside_untyped(registry: Registry) -> None:
    """Set aside only the plugin whose parameters cannot be typed, or have a default of another type."""
    for row in list(registry.rows()):
        if reason := why_untyped(row.schema):  # type: ignore[arg-type]  # every class can be hashed
            registry.set_aside(row.plugin, f"the parameters of {row.component.kind} {row.component.name!r}: {reason}")


def _refuse_taken_names(registry: Registry, folders: Sequence[tuple[str, Path]]) -> None:
    """Refuse two presets of one name, of which Hydra would silently take the first, and one named like a component."""
    presets: dict[Path, tuple[str, Path]] = {}
    for owner, folder in folders:
        for file in folder.rglob("*.yaml"):
            first, _ = presets.setdefault(file.relative_to(folder), (owner, file))
            if first != owner:
                raise PluginError(
                    f"{first} and {owner} both have a {file.relative_to(folder)}; uninstall or rename one"
                )
    for row in registry.rows():
        taken = presets.get(Path(kinds()[row.component.kind].group, f"{row.component.name}.yaml"))
        if taken is not None:
            owner, file = taken
            raise PluginError(
                f"{owner} has a preset {file} with the name of the {row.component.kind} {row.component.name!r} of "
                f"{row.plugin.name}; rename the preset"
            )
