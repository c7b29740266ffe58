"""Registers what plugins provide with Hydra: typed options, presets, experiments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra import version
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

_in_store: list[Any] = []  # what Hydra's store, of which a process has one, was last filled from


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
    if [*map(id, _offered_of(registry))] != [*map(id, _in_store)]:
        _put(registry)
        _in_store[:] = _offered_of(registry)


def _offered_of(registry: Registry) -> list[Any]:
    return [registry, *schemas().values(), *registry.rows(), *kinds().values()]


def _put(registry: Registry) -> None:
    store = ConfigStore.instance()
    for kind in kinds().values():  # left by an earlier registry in this process
        store.repo.pop(kind.group, None)
    _set_aside_untyped(registry)
    folders = _folders(registry)
    _refuse_presets_named_like_components(registry, folders)
    _refuse_presets_named_alike(folders)
    for name, node in schemas().items():
        stored = "run_schema" if name == "train" else f"{name}_schema"
        opened = open_schema(node)  # type: ignore[arg-type]  # every class can be hashed
        store.store(name=stored, node=opened, provider="vlframe")
    for row in registry.rows():
        kind, name = kinds()[row.component.kind], row.component.name
        offered: Any = {name: row.schema} if kind.many else row.schema
        store.store(group=kind.group, name=name, node=offered, provider=row.plugin.name)


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
        yield Hydra.create_main_hydra2("vlframe", path)
    finally:
        GlobalHydra.instance().hydra = before


def _folders(registry: Registry) -> list[tuple[str, Path]]:
    """Return the folders of configs with their owners, vlframe's first."""
    plugins = [(plugin.name, plugin.conf) for plugin in registry.plugins if plugin.conf]
    return [("vlframe", conf_folder()), *plugins]


def _set_aside_untyped(registry: Registry) -> None:
    """Set aside only the plugin whose parameters cannot be typed, or have a default of another type."""
    for row in list(registry.rows()):
        if reason := why_untyped(row.schema):
            registry.set_aside(row.plugin, f"the parameters of {row.component.kind} {row.component.name!r}: {reason}")


def _refuse_presets_named_alike(folders: Sequence[tuple[str, Path]]) -> None:
    """Refuse two files of the same name, of which Hydra would silently take the first."""
    owners: dict[Path, str] = {}
    for owner, folder in folders:
        for file in folder.rglob("*.yaml"):
            first = owners.setdefault(file.relative_to(folder), owner)
            if first != owner:
                raise PluginError(
                    f"{first} and {owner} both have a {file.relative_to(folder)}; uninstall or rename one"
                )


def _refuse_presets_named_like_components(registry: Registry, folders: Sequence[tuple[str, Path]]) -> None:
    for owner, folder in folders:
        for row in registry.rows():
            preset = folder / kinds()[row.component.kind].group / f"{row.component.name}.yaml"
            if preset.exists():
                raise PluginError(
                    f"{owner} has a preset {preset} with the name of the {row.component.kind} "
                    f"{row.component.name!r} of {row.plugin.name}; rename the preset"
                )
