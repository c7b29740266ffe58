"""Components inside components and stages, chosen by name: ``benchmark.dataset=<name>``.

Hydra writes this ``dataset@benchmark.dataset=<name>``, with a ``+`` where nothing is chosen there yet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from vlframe.composer.command_line import CommandLine, Word, with_plugins_kinds
from vlframe.config.fields import keys_of
from vlframe.config.items import item_sentence, shown
from vlframe.contracts.kinds import kinds
from vlframe.errors import ConfigError
from vlframe.registry.registry import Registry

Choices = Callable[[Sequence[str]], Mapping[str, str | None]]


def with_places(line: CommandLine, schema: type, registry: Registry, choices: Choices) -> CommandLine:
    """Rewrite the overrides that choose a component at a nested place. ``choices`` composes overrides and returns the
    chosen groups.
    """
    line = _with_tables(_several_benchmarks(with_plugins_kinds(line)), schema, registry)
    line = _with_open_mappings(line, schema, registry)
    places = [_kind(word, schema, registry) for word in line.overrides]
    if not any(places):
        return line
    rest = [word for word in line.overrides if "." not in word.key.partition("@")[0]]  # groups, not keys
    chosen = choices([f"{word.sign}{word.key}={word.sweep[0]}" if word.sweep else word.text for word in rest])
    words = []
    for word, kind in zip(line.overrides, places, strict=True):
        if kind:
            group = f"{kind}@{word.key}"
            word = word.moved(group, "" if group in chosen else "+")
        words.append(word)
    return replace(line, overrides=tuple(words))


def _several_benchmarks(line: CommandLine) -> CommandLine:
    """Rewrite ``benchmark=[first,second]``: each goes to ``benchmarks`` under its own name, and ``benchmark``
    is empty.
    """
    lists = [word.value for word in line.overrides if word.key == "benchmark" and not word.sign]
    if not lists or not isinstance(lists[-1], list) or not lists[-1]:
        return line
    for name in lists[-1]:
        if not isinstance(name, str):
            raise ConfigError(item_sentence("benchmark", shown(name), "the name of a benchmark"))
    keys = {f"benchmarks.{str(name).replace('/', '_')}": name for name in lists[-1]}
    words = [Word(f"{key}={name}", key, value=name) for key, name in keys.items()]
    rest = [word for word in line.overrides if word.key != "benchmark"]
    return replace(line, overrides=(*words, *rest), absent=(*line.absent, "benchmark"))


def _with_tables(line: CommandLine, schema: type, registry: Registry) -> CommandLine:
    """Add tables of components that are written as a whole with ``+``, since Hydra does not know their keys."""

    def is_table(word: Word) -> bool:
        path, _, name = word.key.rpartition(".")
        kind = "" if word.sign or "@" in word.key or not path else _kind_at(path.split("."), schema, registry)
        return bool(kind) and any(name in row.inner_tables for row in registry.rows(kind))

    words = (word.moved(word.key, "++") if is_table(word) else word for word in line.overrides)
    return replace(line, overrides=tuple(words))


def _with_open_mappings(line: CommandLine, schema: type, registry: Registry) -> CommandLine:
    """Allow any key in a mapping among a component's parameters (``llm.architecture.model_type=…``)."""

    def is_open(word: Word) -> bool:
        path = word.key.split(".")
        if word.sign or "@" in word.key:
            return False
        above = [(_kind_at(path[:cut], schema, registry), path[cut]) for cut in range(1, len(path))]
        return any(name in row.open_mappings for kind, name in above if kind for row in registry.rows(kind))

    words = [word.moved(word.key, "++") if is_open(word) else word for word in line.overrides]
    return replace(line, overrides=tuple(words))


def _kind(word: Word, schema: type, registry: Registry) -> str:
    """Return the kind of the component that an override chooses at a nested place; "" for any other override."""
    names = word.sweep or (word.value,)
    plain_names = all(isinstance(name, str) and name != "null" and "$" not in name for name in names)
    if word.sign or "@" in word.key or "." not in word.key or not plain_names:
        return ""
    return _kind_at(word.key.split("."), schema, registry)


def _kind_at(path: list[str], schema: type, registry: Registry) -> str:
    first, *rest = path
    item = next((item for item in keys_of(schema) if item.name == first), None)
    if item is None:
        return ""
    if item.law.items and item.law.component:  # benchmarks.<name>
        return _kind_inside(item.law.component, rest[1:], registry) if rest[1:] else item.law.component * bool(rest)
    if not rest:
        return item.law.component
    if item.law.component:
        return _kind_inside(item.law.component, rest, registry)
    if item.schema is not None:
        return _kind_at(rest, item.schema, registry)
    return _kind_at(rest[1:], item.item_schema, registry) if item.item_schema is not None and rest[1:] else ""


def _kind_inside(kind: str, path: list[str], registry: Registry) -> str:
    """Return the kind of a parameter of components of ``kind`` that is itself a component, or a table of them."""
    name, *rest = path
    tables = [row.inner_tables[name] for row in registry.rows(kind) if name in row.inner_tables]
    if tables and rest:
        return _kind_inside(tables[0], rest[1:], registry) if rest[1:] else tables[0]
    if name not in kinds() or not any(name in row.inner_kinds for row in registry.rows(kind)):
        return ""
    return _kind_inside(name, rest, registry) if rest else name
