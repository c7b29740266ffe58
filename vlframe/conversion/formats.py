"""Determines the checkpoint format and the sources it takes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from vlframe.contracts.checkpoint_format import MAIN_SOURCE
from vlframe.errors import ConfigError, did_you_mean
from vlframe.registry.registry import Registry

if TYPE_CHECKING:
    from vlframe.contracts.checkpoint_format import CheckpointFormat

KIND = "checkpoint_format"


def open_format(name: str, registry: Registry) -> CheckpointFormat:
    return registry.build(KIND, {"name": name})


def recognise(source: Path, registry: Registry) -> str:
    """Return the name of the one installed format that recognises ``source``, a checkpoint or a recording."""
    names = registry.names(KIND)
    matches = [name for name in names if open_format(name, registry).recognises(source)]
    if len(matches) == 1:
        return matches[0]
    found = f"{' and '.join(matches)} all recognise it" if matches else "no installed format recognises it"
    raise ConfigError(
        f"{source}: {found}; name the format it is in (format=<name>); installed are {', '.join(names) or 'none'}"
    )


def only_format(registry: Registry) -> str:
    """Return the only installed format, for runs that did not start from another project's checkpoint."""
    names = registry.names(KIND)
    if len(names) == 1:
        return names[0]
    raise ConfigError(
        f"the run does not say in which format it is to be written; give format=<name>: {', '.join(names) or 'none'}"
    )


def check_sources(name: str, known: Mapping[str, str], given: Mapping[str, object]) -> None:
    """Raise ConfigError for a source that the format does not have."""
    others = {key: text for key, text in known.items() if key != MAIN_SOURCE}
    strange = [key for key in given if key not in others]
    if strange:
        listed = "; ".join(f"{key}: {text}" for key, text in others.items()) or "no other sources"
        raise ConfigError(
            f"format {name!r} takes no source {', '.join(map(repr, strange))} besides the main one (source=…)"
            f"{did_you_mean(strange[0], others) or '.'} It takes {listed}"
        )
