"""``vlframe <command> --help``: the choices, and every key with its text, default, choices and bounds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from hydra._internal.hydra import Hydra
from hydra.core.object_type import ObjectType

from vlframe.composer.command_line import CommandLine
from vlframe.config.asking import OF_EVERY
from vlframe.config.checks import law_in_words
from vlframe.config.fields import Key, keys_of
from vlframe.config.schema import RunConfig
from vlframe.contracts.kinds import kinds
from vlframe.registry.presets import is_private
from vlframe.registry.registry import Registry

FOOTER = """\
--cfg job prints the composed config, -m runs every combination of values with commas, --config-dir adds a folder of
presets, --traceback shows the Python traceback of an error. `vlframe list` says what the components are."""


def help_of(hydra: Hydra, start: str, line: CommandLine, schema: type, registry: Registry) -> str:
    """Return a command's help. Presets whose names begin with ``_`` are for other presets and are not shown."""
    blocks = [f"vlframe {line.command}: key=value changes a key; ??? has to be given"]
    if issubclass(schema, RunConfig):
        groups = [f"{group}: {', '.join(names)}" for group, names in _groups(hydra)]
        blocks.append("\n".join(["== Groups (group=name) ==", *groups]))
        blocks.append("\n".join(["== Parameters of components ==", *_parameters(registry)]))
    blocks.append("\n".join(["== Keys ==", *keys_help(schema)]))
    return "\n\n".join([*blocks, FOOTER])


def keys_help(schema: type) -> list[str]:
    """Return a line for each key of a schema and of the schemas nested in it."""
    return [_line(name, item) for name, item in all_keys(schema)]


def all_keys(schema: type, path: str = "") -> Iterator[tuple[str, Key]]:
    """Yield the keys of a schema and of the schemas nested in it, each with its full name."""
    for item in keys_of(schema):
        inner = item.schema or item.law.some_of
        if inner is not None:
            yield from all_keys(inner, f"{path}{item.name}.")
        elif item.item_schema is not None:
            yield from all_keys(item.item_schema, f"{path}{item.name}.<name>.")
        else:
            yield f"{path}{item.name}", item
            if item.law.component in OF_EVERY:
                name = f"{item.name}.<name>" if item.law.items else item.name
                yield from all_keys(OF_EVERY[item.law.component], f"{path}{name}.")


def _line(name: str, item: Key) -> str:
    law = law_in_words(item.law)
    kind = f"{item.law.component} component" if item.law.component else ""
    notes = "; ".join(note for note in (kind, law) if note)
    return f"{name}: {shown_value(item.default)}  " + (f"({notes}) " if notes else "") + item.law.text


def shown_value(value: Any) -> str:
    """Return a value as it is typed on a command line."""
    if value is None:
        return "null"
    return str(value) if isinstance(value, str) else json.dumps(value, default=str)


def _groups(hydra: Hydra) -> Iterator[tuple[str, list[str]]]:
    loader = hydra.config_loader
    found = sorted(hydra.list_all_config_groups())
    for group in found:
        if group.partition("/")[0] == "hydra":
            continue
        names = [name for name in loader.get_group_options(group, ObjectType.CONFIG) if not is_private(name)]
        if names:
            yield group, names


def _parameters(registry: Registry) -> Iterator[str]:
    for row in registry.rows():
        names = [name for name in row.schema.__dataclass_fields__ if name != "name"]
        if names:
            yield f"{kinds()[row.component.kind].group}={row.component.name}: {', '.join(names)}"
