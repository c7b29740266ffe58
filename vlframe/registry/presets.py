"""Looks up presets of vlframe and of every plugin, by the component they configure."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vlframe.config.typed import read_yaml
from vlframe.errors import ConfigError
from vlframe.paths import conf_folder
from vlframe.registry.registry import Registry


def conf_folders(registry: Registry) -> list[tuple[str, Path]]:
    """Return the owners of presets and their folders: vlframe, then the plugins that offer ``vlframe_conf``."""
    return [("vlframe", conf_folder()), *((plugin.name, plugin.conf) for plugin in registry.plugins if plugin.conf)]


def preset_files(group: str, registry: Registry) -> dict[str, Path]:
    """Return the presets of a group (``encoder``, ``model``, ``experiment``) by name, including those in subfolders.
    Private ones (``_official``), which others build on, are not among them.
    """
    return {name: file for name, file in _files(group, registry).items() if not is_private(name)}


def is_private(name: str) -> bool:
    """Return whether a preset, by its name or a folder's, is only for others to build on."""
    return any(part.startswith("_") for part in name.split("/"))


def _files(group: str, registry: Registry) -> dict[str, Path]:
    found = {}
    for _, folder in conf_folders(registry):
        for file in (folder / group).rglob("*.yaml"):
            found[file.relative_to(folder / group).with_suffix("").as_posix()] = file
    return dict(sorted(found.items()))


def read_preset(kind: str, name: str, registry: Registry) -> dict[str, Any]:
    """Return the keys that a preset of a component sets, including those of presets it builds on; the
    component's ``name`` is first.
    """
    return _read(kind, name, _files(kind, registry), ())


def preset_of_source(kind: str, source: str, registry: Registry | None = None) -> dict[str, Any] | None:
    """Return the preset of this kind whose ``source`` is that hub id (or has the same last part); None if there is
    none.

    Checkpoints refer to other parts by hub ids; presets give their sizes without downloading anything. Without a
    ``registry``, the presets of the installed plugins are searched.
    """
    registry = registry or Registry.installed()
    files = _files(kind, registry)
    sources = {
        name: str(read_yaml(file, resolve=False).get("source") or "")
        for name, file in files.items()
        if not is_private(name)
    }
    equal = [name for name, named in sources.items() if named == source]
    alike = [name for name, named in sources.items() if named and named.rpartition("/")[2] == Path(source).name]
    return next((_read(kind, name, files, ()) for name in [*equal, *alike]), None)


def _read(kind: str, name: str, files: Mapping[str, Path], above: tuple[str, ...]) -> dict[str, Any]:
    if name not in files:
        return {"name": name}  # a component, or an unknown name that the check of the config reports
    if name in above:
        raise ConfigError(f"{kind} presets build on each other in a circle: {' -> '.join([*above, name])}")
    values = read_yaml(files[name], resolve=False)
    bases = [item for item in values.pop("defaults", []) if isinstance(item, str) and item != "_self_"]
    merged: dict[str, Any] = {}
    for base in bases:
        merged = _merged(merged, _read(kind, base, files, (*above, name)))
    return _merged(merged, values)


def _merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Merge as Hydra does: mappings key by key, everything else from the second."""
    merged = dict(first)
    for key, value in second.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merged(merged[key], value) if both else value
    return merged
