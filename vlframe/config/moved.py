"""Folders that have moved since a config was written: ``moved={/old/data: /new/data}``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vlframe.config.path_keys import FILES, PERHAPS
from vlframe.paths import at_home


def moved_path(path: str, moved: Mapping[str, str]) -> str:
    """Return where a path is now: the longest old folder that holds it is replaced. One in a new folder stays."""
    found = at_home(path)
    inside = [(_folder(old), _folder(new)) for old, new in moved.items()]
    if any(_holds(new, found) for _, new in inside):
        return path
    for old, new in sorted(inside, key=lambda pair: -len(pair[0])):
        if _holds(old, found):
            return new + found[len(old) :]
    return path


def relocated(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's plain config with every path that lay in a folder of its ``moved`` where that is now."""
    moved = values.get("moved") or {}
    return {key: value if key == "moved" else _relocated(key, value, moved) for key, value in values.items()}


def _relocated(key: str, value: Any, moved: Mapping[str, str]) -> Any:
    if isinstance(value, Mapping):
        return {name: _relocated(str(name), item, moved) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_relocated(key, item, moved) for item in value]
    return moved_path(value, moved) if isinstance(value, str) and key in (*FILES, *PERHAPS) else value


def _folder(path: str) -> str:
    return at_home(path).rstrip("/")


def _holds(folder: str, path: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")
