"""Folders that have moved since a config was written: ``moved={/old/data: /new/data}``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from vlframe.config.path_keys import FILES, FOLDERS, PERHAPS
from vlframe.errors import UserError
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


@contextmanager
def advising_if_moved(settings: Mapping[str, Any]) -> Iterator[None]:
    """Add to an error inside that names a path of ``settings``, of which the folder is gone, what to do if it moved.

    ``settings`` were true once: a run's, or those of data. A path that is only mistyped is not known to have moved.
    """
    try:
        yield
    except UserError as error:
        told = str(error)
        gone = next((folder for path, folder in _gone(settings) if path in told), None)
        if gone is None or "'moved={" in told:  # told further inside
            raise
        error.args = (
            f"{told}; there is no folder {gone} on this machine: put what is named there or name another, or, if its "
            f"folder has moved, say where to: 'moved={{{gone}: <new folder>}}'",
        )
        raise


def _gone(settings: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield the paths that do not exist, each with the folder that is gone: its own, or itself."""
    if isinstance(settings, Mapping):
        for name, value in settings.items():
            yield from _gone(value, str(name)) if name != "moved" else ()
    elif isinstance(settings, list | tuple):
        for value in settings:
            yield from _gone(value, key)
    elif isinstance(settings, str) and key in (*FILES, *PERHAPS) and os.path.isabs(settings):
        around = os.path.dirname(settings.rstrip("/"))
        if not os.path.isdir(around):
            yield settings, around
        elif key in FOLDERS and not os.path.exists(settings):
            yield settings, settings.rstrip("/")


def _folder(path: str) -> str:
    return at_home(path).rstrip("/")


def _holds(folder: str, path: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")
