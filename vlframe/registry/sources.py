"""Looks at where a config's base weights come from, before any of it is read: a folder or file here, or the hub."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vlframe.config.path_keys import PERHAPS
from vlframe.config.typed import read_yaml
from vlframe.paths import at_home
from vlframe.registry.presets import preset_files
from vlframe.registry.registry import Registry

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
PATH = re.compile(r"[~/]|\.\.?/|[\w.-]+/[\w.-]+/")


def is_here(source: str) -> bool:
    """Return whether a source is a file or folder, or in the hub's cache."""
    from huggingface_hub.constants import HF_HUB_CACHE

    cached = Path(HF_HUB_CACHE) / f"models--{source.replace('/', '--')}" / "snapshots"
    return Path(at_home(source)).exists() or cached.is_dir()


@contextmanager
def nothing_fetched() -> Iterator[None]:
    """Let nothing inside be looked up at the hub: what is not on this machine fails at once, as offline."""
    from huggingface_hub import constants

    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def is_path(source: str) -> bool:
    """Return whether a source can only be a path, and no hub id."""
    return PATH.match(source) is not None


def taken_for_hub_ids(parts: Mapping[str, Any], registry: Registry) -> Iterator[str]:
    """Yield a sentence for each part whose source could be meant as a folder that is not here, and is taken for a hub
    id. Those that presets name are hub ids.
    """
    for kind, source in _not_here(parts, "source"):
        if not is_path(source) and HUB_ID.fullmatch(source) and source not in _of_presets(kind, registry):
            yield f"{kind}.source is {source!r}: there is no such folder in {Path.cwd()}, so it is taken for a hub id"


def missing_paths(parts: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each part whose source or tokenizer is a path that does not exist. A plan can do without."""
    for key in PERHAPS:
        for kind, value in _not_here(parts, key):
            if is_path(value):
                yield f"{kind}.{key} is {value!r}, a path, and there is no such file or folder"


def _not_here(parts: Mapping[str, Any], key: str) -> Iterator[tuple[str, str]]:
    for kind, chosen in parts.items():
        value = (chosen or {}).get(key)
        if isinstance(value, str) and not is_here(value):
            yield kind, value


def _of_presets(kind: str, registry: Registry) -> set[str]:
    return {str(read_yaml(file, resolve=False).get("source")) for file in preset_files(kind, registry).values()}
