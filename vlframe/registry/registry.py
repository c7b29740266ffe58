"""The components of all plugins, by name, with their classes (imported when used) and checked parameters."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field
from functools import cache, cached_property, partial
from typing import Any

from vlframe.config.asking import OF_EVERY, keys_of_every
from vlframe.config.checks import check_values
from vlframe.config.fields import missing_keys
from vlframe.contracts.kinds import kinds
from vlframe.errors import ConfigError, PluginError, UnknownName, did_you_mean
from vlframe.registry.checked import CheckedComponent
from vlframe.registry.discovery import Plugin, find_commands, find_plugins, refuse_file, without_orphans
from vlframe.registry.hooks import Command, Component
from vlframe.registry.imported import imported, lacks


@dataclass(frozen=True)
class Row:
    """A component and the plugin that offers it."""

    component: Component
    plugin: Plugin

    def load_class(self) -> type:
        component = self.component
        what = f"{component.kind} {component.name!r} of plugin {self.plugin.name}"
        found: type = imported(component.path, what)
        return found

    @property
    def example(self) -> Mapping[str, Any] | None:
        """Return the small example parameters; none are needed by a component without parameters. None: it has
        parameters, and no example of them.
        """
        declared, params = self.component.example, self.component.params
        return {} if declared is None and (params is None or not dataclasses.fields(params)) else declared

    @cached_property
    def inner_kinds(self) -> list[str]:
        """Return the kinds of components that this component's parameters hold."""
        return [item.name for item in dataclasses.fields(self.schema) if item.name in kinds() and item.type is Any]

    @cached_property
    def inner_tables(self) -> dict[str, str]:
        """Return the parameters that hold tables of components, with their kind: ``readers: dict[str, Any]``."""
        plural = {f"{kind}s": kind for kind in kinds()}
        tables = [item.name for item in dataclasses.fields(self.schema) if item.type == dict[str, Any]]
        return {name: plural[name] for name in tables if name in plural}

    def inner(self, values: Mapping[str, Any]) -> Iterator[tuple[str, Any, dict[Any, Any]]]:
        """Yield the components among parameters: each one's kind, its key, and the mapping that contains it."""
        for name in self.inner_kinds:
            if isinstance(values.get(name), Mapping):
                yield name, name, typing.cast(dict[Any, Any], values)
        for name, kind in self.inner_tables.items():
            table = values.get(name)
            for key in table if isinstance(table, Mapping) else ():
                yield kind, key, typing.cast(dict[Any, Any], table)

    @cached_property
    def open_mappings(self) -> list[str]:
        """Return the parameters that are mappings of plain values, and take any key."""
        hints = typing.get_type_hints(self.schema)
        return [
            name for name, hint in hints.items() if typing.get_origin(hint) is dict and name not in self.inner_tables
        ]

    @cached_property
    def schema(self) -> type[Any]:
        """Return a dataclass of the row's parameters and defaults, led by ``name``, with the keys that every component
        of its kind has; Hydra checks configs against it.
        """
        params = self.component.params
        made = _schema_of_class if params is None or isinstance(params, type) else _schema_of
        return made(self.component.kind, self.component.name, params)


class Registry:
    """All components that can be named in a config."""

    def __init__(self, plugins: Sequence[Plugin]) -> None:
        self.plugins = list(plugins)
        self._rows: dict[tuple[str, str], Row] = {}
        self._commands: dict[str, tuple[Command, Plugin]] = {}
        for plugin in plugins:
            for command in plugin.commands:
                self._add_command(command, plugin)
            for component in plugin.components:
                self._add(Row(component, plugin))

    @classmethod
    def installed(cls, paths: Sequence[str] = (), strict: bool = False) -> Registry:
        return cls(find_plugins(paths, strict))

    @classmethod
    def of_commands(cls, paths: Sequence[str] = (), strict: bool = False) -> Registry:
        """Return a registry that has all commands, and not all components."""
        return cls(find_commands(paths, strict))

    def _add(self, row: Row) -> None:
        key = (row.component.kind, row.component.name)
        if key in self._rows:
            first = self._rows[key].plugin
            raise PluginError(f"two plugins offer the {key[0]} {key[1]!r}: {_clash(first, row.plugin)}")
        self._rows[key] = row

    def _add_command(self, command: Command, plugin: Plugin) -> None:
        if command.name in self._commands:
            first = self._commands[command.name][1]
            raise PluginError(f"two plugins offer the command {command.name!r}: {_clash(first, plugin)}")
        self._commands[command.name] = (command, plugin)

    @property
    def commands(self) -> dict[str, tuple[Command, Plugin]]:
        """Return the commands that plugins add, by name."""
        return dict(self._commands)

    def set_aside(self, plugin: Plugin, reason: str) -> None:
        """Treat a plugin as broken after all: all that it offers is removed, and the plugins with components of kinds
        that it adds. PluginError: the user named one of them.
        """
        broken = plugin.without_all(reason)
        self.plugins = without_orphans([broken if item is plugin else item for item in self.plugins])
        for item in self.plugins:
            refuse_file(item)
        self._rows = {key: row for key, row in self._rows.items() if row.plugin in self.plugins}
        self._commands = {name: found for name, found in self._commands.items() if found[1] in self.plugins}

    @property
    def broken(self) -> list[Plugin]:
        return [plugin for plugin in self.plugins if not plugin.works]

    def rows(self, kind: str | None = None) -> Iterator[Row]:
        """Yield all rows, or those of one kind, ordered by kind and name."""
        if kind is not None and kind not in kinds():
            raise UnknownName(f"there is no kind {kind!r}; kinds are {', '.join(kinds())}")
        order = {name: index for index, name in enumerate(kinds())}
        for key in sorted(self._rows, key=lambda key: (order[key[0]], key[1])):
            if kind in (None, key[0]):
                yield self._rows[key]

    def names(self, kind: str) -> list[str]:
        return [row.component.name for row in self.rows(kind)]

    def named_or_only(self, kind: str, name: str | None) -> str:
        """Return the name, or without one the only component of the kind."""
        names = self.names(kind)
        if name is None and len(names) != 1:
            raise ConfigError(f"which {kind}? There are {', '.join(names) or 'none'}; name one")
        return names[0] if name is None else name

    def row(self, kind: str, name: str) -> Row:
        if (kind, name) in self._rows:
            return self._rows[kind, name]
        names = self.names(kind)
        raise UnknownName(self.unknown(kind, name, names))

    def unknown(self, kind: str, name: str, options: Sequence[str]) -> str:
        """Return the message about an unknown name: the existing ones, and the broken plugins that might have it."""
        message = f"no {kind} named {name!r}; there are {', '.join(options) or 'none'}{did_you_mean(name, options)}"
        if self.broken:
            reasons = "; ".join(f"{plugin.name} ({plugin.reason})" for plugin in self.broken)
            message += f". These plugins did not load and may have it: {reasons}"
        return message

    def check(self, kind: str, config: Any, *, complete: bool = True) -> dict[str, Any]:
        """Return a component's config as plain values of its own types; a checked one is returned unchanged.

        Components among the parameters are checked with it. ConfigError: a wrong key or type, or, of a ``complete``
        config, a value that is still to be given.
        """
        if config is None:
            raise ConfigError(f"there is no {kind}; choose one of {', '.join(self.names(kind))}")
        if not isinstance(config, Mapping) and not hasattr(config, "keys"):
            raise ConfigError(
                f"the {kind} is {config!r}, where its settings should be; a component inside another is chosen with "
                f"its place, like benchmark.{kind}={config}"
            )
        if "name" not in config:
            raise ConfigError(f"the {kind} has no 'name'; installed are {', '.join(self.names(kind))}")
        row = self.row(kind, config["name"])
        label = f"{kind} {row.component.name!r}"
        values = config if isinstance(config, CheckedComponent) else self._checked(row, label, config)
        missing = missing_keys(values) if complete else []
        if missing:
            raise ConfigError(f"{label} needs a value for {', '.join(missing)}")
        return values

    def _checked(self, row: Row, label: str, config: Any) -> CheckedComponent:
        from vlframe.config.typed import check_parameters

        values = check_parameters(row.schema, label, config)
        if row.component.kind in OF_EVERY:
            check_values(OF_EVERY[row.component.kind], values, path=f"{label}: ")
        for kind, key, holder in row.inner(values):
            config = {"name": holder[key]} if isinstance(holder[key], str) else holder[key]
            holder[key] = self.check(kind, config, complete=False)
        return CheckedComponent(values)

    def rows_in(self, kind: str, config: Mapping[str, Any]) -> Iterator[Row]:
        """Yield the row of a component, and those of the components among its parameters."""
        values = self.check(kind, config)
        row = self.row(kind, values["name"])
        yield row
        for inner, key, holder in row.inner(values):
            yield from self.rows_in(inner, holder[key])

    def build(self, kind: str, config: Mapping[str, Any], **neighbours: Any) -> Any:
        """Build the component that a config names, after the components among its parameters.

        ``neighbours`` come from neighbouring parts: ``in_dim`` and ``out_dim``, or the built data set of a benchmark
        instead of its config.
        """
        values = copy.deepcopy(dict(self.check(kind, config)))  # a class may keep and modify its arguments
        name = values.pop("name")
        values = {key: value for key, value in values.items() if key not in keys_of_every(kind)} | neighbours
        row = self.row(kind, name)
        for inner, key, holder in row.inner(values):
            holder[key] = self.build(inner, holder[key])
        cls = row.load_class()
        try:
            inspect.signature(cls).bind(**values)
        except TypeError as error:
            raise PluginError(
                f"{kind} {name!r} of plugin {row.plugin.name}: {row.component.path} does not take its own parameters "
                f"({error}); it is called with {', '.join(values) or 'nothing'}"
            ) from error
        built = cls(**values)
        contract = kinds()[kind].contract
        if lacking := [] if contract is None else lacks(contract, built):
            raise PluginError(
                f"{kind} {name!r} of plugin {row.plugin.name} has no {' and no '.join(lacking)}, which every {kind} "
                "has; vlframe.testing checks the whole contract"
            )
        return built


def _schema_of(kind: str, name: str, params: Any) -> type[Any]:
    fields: list[Any] = [("name", str, field(default=name))]
    for declared in (params, OF_EVERY.get(kind)):
        fields += _declared(declared) if declared is not None else []
    declaring = params if isinstance(params, type) else type(params)
    title = _camel(name) + "Params" if params is None else declaring.__name__
    return dataclasses.make_dataclass(title, fields, kw_only=True)


_schema_of_class = cache(_schema_of)  # the same class for every registry of a process


def _declared(params: Any) -> list[tuple[str, Any, Any]]:
    """Return the fields of a dataclass of parameters, or of an instance of one, whose values are then the defaults."""
    kind = params if isinstance(params, type) else type(params)
    hints = typing.get_type_hints(kind)
    return [(item.name, hints[item.name], _default(item, params)) for item in dataclasses.fields(kind)]


def _default(item: dataclasses.Field[Any], params: Any) -> Any:
    """Return a field with the row's default: from the instance, the dataclass, or none (Hydra's '???')."""
    if not isinstance(params, type):
        value = getattr(params, item.name)
        return field(default_factory=partial(_same, value)) if value.__hash__ is None else field(default=value)
    if item.default_factory is not MISSING:
        return field(default_factory=item.default_factory)
    return field(default="???" if item.default is MISSING else item.default)


def _same(value: Any) -> Any:
    return value


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def _clash(first: Plugin, second: Plugin) -> str:
    """Name two plugins of which one has to go: not that of vlframe itself."""
    other = first if second.distribution == "vlframe" else second
    return f"{first.origin} and {second.origin}; rename one of the two, or {other.way_out}"
