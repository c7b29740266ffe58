"""What makes two runs the same: all of the resolved config that says what is computed, and the plugins that compute it.

Paths count by their last name, and small files by their content, so that the same study is the same on another machine.
Where a run computes, what it writes and how it is called do not count. The seed does.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from vlframe.config.fields import places
from vlframe.config.path_keys import FILES, PERHAPS
from vlframe.config.schema import RunConfig
from vlframe.config.typed import plain
from vlframe.errors import ConfigError
from vlframe.paths import at_home
from vlframe.registry.registry import Registry
from vlframe.runs.changes import Change, differences
from vlframe.runs.folder import own_version

# With everything below them. All else counts.
OUTSIDE = (
    "name", "runs", "resume", "resume_changes", "optimized_metric", "plugins", "choices", "words", "sweep", "logger",
    "loader", "media.cache_mb", "media.timeout", "evaluation.batch_size", "evaluation.media_in_tables",
    "evaluation.controls",
    "trainer.accelerator",
    "trainer.devices", "trainer.num_nodes", "trainer.strategy", "trainer.gradient_checkpointing", "trainer.threads",
    "trainer.log_every", "trainer.checkpoint_every", "trainer.keep_checkpoints", "trainer.keep_best",
    "trainer.max_time", "trainer.progress", "debug.profiler",
)  # fmt: skip
READ = 64 * 2**20  # bytes of a file whose content counts; of a larger one its size does
LENGTH = 16  # hexadecimal digits

Identity = Mapping[str, Any]


def counts(key: str) -> bool:
    """Return whether a key of a run's config is part of its identity."""
    return not any(key == place or key.startswith(f"{place}.") for place in OUTSIDE)


def identity(config: RunConfig, registry: Registry) -> dict[str, Any]:
    """Return what is hashed, as plain values: ``config`` and ``versions``."""
    values = plain(config)
    return {"config": _counted(values), "versions": _versions(type(config), values, registry)}


def digest(of: Identity) -> str:
    """Return the short hash of an identity."""
    text = json.dumps(of, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:LENGTH]


def digest_of_recorded(config: Mapping[str, Any]) -> str:
    """Return the digest of a recorded config with its seed, files only by name: what they hold may have changed."""
    return digest({"config": _counted(config, by_content=False)})


def changes(old: Identity, new: Identity) -> list[Change]:
    """Return what differs between two identities, key by key: ``stages.main.lr``, ``versions.vlframe``."""
    found = differences(old["config"], new["config"])
    return [*found, *differences(old["versions"], new["versions"], "versions.")]


def _counted(values: Mapping[str, Any], prefix: str = "", *, by_content: bool = True) -> dict[str, Any]:
    kept = {}
    for name, value in values.items():
        key = f"{prefix}{name}"
        if not counts(key):
            continue
        if isinstance(value, Mapping):
            kept[name] = _counted(value, f"{key}.", by_content=by_content)
        else:
            kept[name] = _without_folders(name, value, by_content)
    return kept


def _without_folders(name: str, value: Any, by_content: bool) -> Any:
    if isinstance(value, list):
        return [
            _counted(item, "", by_content=by_content)
            if isinstance(item, Mapping)
            else _without_folders(name, item, by_content)
            for item in value
        ]
    if not isinstance(value, str) or not (name in FILES or (name in PERHAPS and _is_path(value))):
        return value
    path = Path(at_home(value))
    return f"{path.name}:{_content(str(path), path.stat().st_mtime_ns)}" if by_content and path.is_file() else path.name


def _is_path(value: str) -> bool:
    return value.startswith(("/", "./", "../", "~")) or Path(value).exists()


@lru_cache(maxsize=256)
def _content(path: str, changed: int) -> str:
    """Return the hash of a file's content; its size if it is large. ``changed`` is its time of change."""
    size = Path(path).stat().st_size
    return f"{size} bytes" if size > READ else hashlib.sha256(Path(path).read_bytes()).hexdigest()[:LENGTH]


def _versions(schema: type, values: Mapping[str, Any], registry: Registry) -> dict[str, str]:
    """Return vlframe's version and those of the plugins whose components the config names."""
    found = {"vlframe": str(own_version()["version"])}
    for place, kind, holder in places(schema, values):
        if counts(place):
            for row in registry.rows_in(kind, holder[place.rpartition(".")[2]]):
                plugin = row.plugin
                is_file = plugin.version == "file"
                found[Path(plugin.name).name if is_file else plugin.distribution] = (
                    _file_version(Path(plugin.name)) if is_file else plugin.version
                )
    return dict(sorted(found.items()))


def _file_version(path: Path) -> str:
    if not path.is_file():
        raise ConfigError(f"the plugin {path} is gone since it was loaded; put it back")
    return _content(str(path), path.stat().st_mtime_ns)
