"""Makes a config's paths absolute when a run begins, so that its folder works from anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vlframe.config.moved import relocated
from vlframe.config.path_keys import FILES, PERHAPS
from vlframe.config.schema import RunConfig, run_schema
from vlframe.config.typed import plain
from vlframe.paths import at_home
from vlframe.registry.registry import Registry
from vlframe.registry.settle import settled_typed

NOT_OURS = ("logger", "callbacks", "plugins")  # passed on unchanged
UNKNOWN = ("???", "${")  # missing, or to be filled in


def absolute_paths(values: Mapping[str, Any], base: Path | None = None) -> dict[str, Any]:
    """Resolve a config's relative paths against ``base`` (default: the current folder), and expand ``~``.

    A value that may be something other than a path is one if such a file or folder exists.
    """
    here = base or Path.cwd()
    found = {key: value if key in NOT_OURS else _absolute(key, value, here) for key, value in values.items()}
    if found.get("moved"):
        found["moved"] = {str(_full(old, here)): str(_full(new, here)) for old, new in found["moved"].items()}
    return found


def located(config: RunConfig, registry: Registry) -> RunConfig:
    """Return the config with absolute paths, those in folders that have moved at their new place."""
    return settled_typed(run_schema(), relocated(absolute_paths(plain(config))), registry, saved=True)


def _absolute(key: str, value: Any, here: Path) -> Any:
    if isinstance(value, Mapping):
        return {name: _absolute(str(name), item, here) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_absolute(key, item, here) for item in value]
    if not isinstance(value, str) or not value or value.startswith(UNKNOWN):
        return value
    if key in FILES or (key in PERHAPS and _is_there(value, here)):
        return str(_full(value, here))
    return value


def _full(value: str, here: Path) -> Path:
    return here / at_home(value)  # not normalised: ".." after a link is resolved by the system


def _is_there(value: str, here: Path) -> bool:
    try:
        return value.startswith(("./", "../", "~/")) or _full(value, here).exists()
    except (OSError, ValueError):  # too long, or not a valid file name
        return False
