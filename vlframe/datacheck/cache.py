"""Caches results by the content of a file, and contents by path, size and time, so that files are read once."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
import sqlite3
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from vlframe.contracts.reader import ClipPath, FrameList
from vlframe.errors import ConfigError
from vlframe.paths import cache_folder

if TYPE_CHECKING:
    from vlframe.config.schema import RunConfig
    from vlframe.registry.registry import Registry, Row


class Cache:
    """A small database in vlframe's cache folder. Each worker reads through its own connection; one process writes."""

    def __init__(self) -> None:
        self.path = cache_folder("data_check") / "files.sqlite"
        with self._explained():
            self._base = sqlite3.connect(self.path, timeout=60)
            self._base.execute("PRAGMA synchronous = OFF")  # entries lost in a power cut can be made again
            self._base.execute("CREATE TABLE IF NOT EXISTS content (path BLOB PRIMARY KEY, state TEXT, sha256 TEXT)")
            self._base.execute("CREATE TABLE IF NOT EXISTS taken (key TEXT PRIMARY KEY, value TEXT)")

    def __enter__(self) -> Cache:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._base.close()

    def content(self, path: ClipPath, state: str) -> str | None:
        """Return the file's sha256 if its ``state`` (size and time of change) is that of the last reading."""
        found = self._one("SELECT state, sha256 FROM content WHERE path = ?", _name(path))
        return found[1] if found and found[0] == state else None

    def taken(self, key: str) -> dict[str, Any] | None:
        found = self._one("SELECT value FROM taken WHERE key = ?", key)
        return json.loads(found[0]) if found else None

    def remember(self, path: ClipPath, state: str, sha256: str, taken: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
        with self._explained():
            self._base.execute("INSERT OR REPLACE INTO content VALUES (?, ?, ?)", (_name(path), state, sha256))
            for key, value in taken:
                self._base.execute("INSERT OR REPLACE INTO taken VALUES (?, ?)", (key, json.dumps(value)))
            self._base.commit()  # at once: Ctrl-C loses nothing, and no process waits for a lock

    def _one(self, query: str, value: str | bytes) -> tuple[str, ...] | None:
        with self._explained():
            return self._base.execute(query, (value,)).fetchone()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise ConfigError(f"the cache {self.path} cannot be used ({error}); delete the file") from error


def _name(path: ClipPath) -> bytes:
    """Return a file's name as bytes, since it need not be text."""
    return os.fsencode(str(path) if isinstance(path, FrameList) else os.path.abspath(path))


def settings_key(config: RunConfig, registry: Registry, front_ends: Mapping[str, Any], frames_per_step: int) -> str:
    """Hash everything besides the file that a result depends on: the settings, and the versions of all code
    involved.
    """
    rows = {
        f"{kind} {row.component.name}": row
        for kind, chosen in (
            ("reader", config.reader),
            ("processor", config.processor),
            ("sampler", config.media.sampler),
        )
        if chosen is not None
        for row in registry.rows_in(kind, chosen)
    }
    settings = {
        "reader": registry.check("reader", config.reader),
        "processor": None if config.processor is None else registry.check("processor", config.processor),
        "sampler": registry.check("sampler", config.media.sampler),
        "media": [config.media.frames, config.media.missing_audio, frames_per_step],
        "front_ends": {kind: hashlib.sha256(pickle.dumps(end)).hexdigest() for kind, end in front_ends.items()},
        "versions": {kind: _versions(row) for kind, row in rows.items()},
        "code": [_code(sys.modules["vlframe.media"].__file__), *(_code(_file(row)) for row in rows.values())],
    }
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()


def _versions(row: Row) -> dict[str, str]:
    """Return the versions of a plugin's distribution and of its requirements; the decoders are among those."""
    found = {row.plugin.distribution: row.plugin.version}
    try:
        asked = requires(row.plugin.distribution) or []
    except (PackageNotFoundError, ValueError):  # a single file has no distribution; its code counts
        return found
    for line in asked:
        match = re.match(r"[A-Za-z0-9._-]+", line)
        try:
            found |= {match.group(): version(match.group())} if match else {}
        except PackageNotFoundError:  # an extra that is not installed
            continue
    return found


def _file(row: Row) -> str | None:
    return sys.modules[row.load_class().__module__].__file__


def _code(file: str | None) -> str:
    """Return a hash of the Python files in a module's folder (of the module only, if it is a single file)."""
    if file is None:
        return ""
    path = Path(file)
    files = sorted(path.parent.glob("*.py")) if (path.parent / "__init__.py").is_file() else [path]
    return hashlib.sha256(b"\0".join(item.read_bytes() for item in files)).hexdigest()
