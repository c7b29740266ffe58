"""Reads a run folder's config back for a command: changed, checked against the installed plugins, frozen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vlframe.config.moved import relocated
from vlframe.config.schema import RunConfig, run_schema
from vlframe.config.typed import UnknownParameter, typed
from vlframe.errors import ConfigError, UnknownName
from vlframe.registry.registry import Registry
from vlframe.registry.settle import settled_typed


def checked(saved: Mapping[str, Any], registry: Registry, changes: Mapping[str, Any] | None = None) -> RunConfig:
    """Check a saved config's plain values with some keys changed. A component named in the changes replaces the
    saved one. Paths in folders that have ``moved`` are at their new place.
    """
    schema, changes = run_schema(), changes or {}
    try:
        values = typed(schema, _without_replaced(saved, changes), changes)
    except ConfigError as error:
        raise ConfigError(f"the config of the run: {error}") from error
    try:
        return settled_typed(schema, relocated(values), registry, saved=True)
    except UnknownParameter as error:
        raise changed_since(error) from error
    except UnknownName as error:
        paths = ", ".join(values["plugins"]["paths"])
        hint = f"; the run was made with plugins.paths=[{paths}]: give that again" if paths else ""
        raise UnknownName(f"{error}{hint}") from error


def changed_since(error: UnknownParameter) -> ConfigError:
    """Return the error about a saved run that has a parameter which the installed component does not."""
    return ConfigError(
        f"the config of the run: {error}. If a plugin has changed since the run was made, use the version that it was "
        f"made with, or take the key out of its config.yaml"
    )


def _without_replaced(saved: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    kept = dict(saved)
    for key, value in changes.items():
        if isinstance(value, Mapping) and "name" in value:
            kept.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(kept.get(key), Mapping):
            kept[key] = _without_replaced(kept[key], value)
    return kept
