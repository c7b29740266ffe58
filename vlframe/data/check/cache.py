"""What was read once need not be read again: results by the content of a file, contents by its path, size and time."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sqlite3
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from vlframe.errors import ConfigError
from vlframe.folders import cache_folder

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from vlframe.registry import Registry, Row


class Cache:
    """A small database in vlframe's cache folder. Workers read it, each through a connection of its own; one writes."""

    def __init__(self) -> None:
        self.path = cache_folder("data_check") / "files.sqlite"
        with self._explained():
            self._base = sqlite3.connect(self.path, timeout=60)
            self._base.execute("PRAGMA synchronous = OFF")  # what a power cut takes can be read again
            self._base.execute("CREATE TABLE IF NOT EXISTS content (path BLOB PRIMARY KEY, state TEXT, sha256 TEXT)")
            self._base.execute("CREATE TABLE IF NOT EXISTS taken (key TEXT PRIMARY KEY, value TEXT)")

    def __enter__(self) -> Cache:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._base.close()

    def content(self, path: Path, state: str) -> str | None:
        """The sha256 of the file, if it was in this ``state`` (size and time of change) when it was last read."""
        found = self._one("SELECT state, sha256 FROM content WHERE path = ?", _name(path))
        return found[1] if found and found[0] == state else None

    def taken(self, key: str) -> dict[str, Any] | None:
        found = self._one("SELECT value FROM taken WHERE key = ?", key)
        return json.loads(found[0]) if found else None

    def remember(self, path: Path, state: str, sha256: str, taken: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
        with self._explained():
            self._base.execute("INSERT OR REPLACE INTO content VALUES (?, ?, ?)", (_name(path), state, sha256))
            for key, value in taken:
                self._base.execute("INSERT OR REPLACE INTO taken VALUES (?, ?)", (key, json.dumps(value)))
            self._base.commit()  # at once: Ctrl-C loses nothing, and nobody waits for a lock

    def _one(self, query: str, value: str | bytes) -> tuple[str, ...] | None:
        with self._explained():
            return self._base.execute(query, (value,)).fetchone()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise ConfigError(f"the cache {self.path} cannot be used ({error}); delete the file") from error


def _name(path: Path) -> bytes:
    """A file's name need not be text."""
    return os.fsencode(os.path.abspath(path))


def settings_key(config: DictConfig, registry: Registry) -> str:
    """Everything but the file that a result depends on: what is taken, and the versions of all that takes it."""
    rows = {
        kind: registry.row(kind, config[kind].name)
        for kind in ("reader", "audio_encoder", "protocol")
        if config[kind] is not None
    }
    settings = {
        **{kind: registry.check(kind, config[kind]) for kind in rows},
        "media": {key: config.media[key] for key in ("sampling", "frames", "fps", "missing_audio")},
        "versions": {kind: _versions(row) for kind, row in rows.items()},
        "code": [_code(sys.modules["vlframe.media"].__file__), *(_code(_file(row)) for row in rows.values())],
    }
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()


def _versions(row: Row) -> dict[str, str]:
    """Of a plugin's distribution, and of what it asks for: the decoders are among that."""
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
    """Of the Python files that a module lies among (of the module alone where it is a single file)."""
    if file is None:
        return ""
    path = Path(file)
    files = sorted(path.parent.glob("*.py")) if (path.parent / "__init__.py").is_file() else [path]
    return hashlib.sha256(b"\0".join(item.read_bytes() for item in files)).hexdigest()
