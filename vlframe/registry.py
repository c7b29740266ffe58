"""Rows to classes, lazily; rows to typed Hydra options."""

import dataclasses
import inspect
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field
from functools import cached_property
from importlib import import_module
from typing import Any

from vlframe.errors import ConfigError, PluginError, UnknownName, did_you_mean
from vlframe.hooks import KINDS, Component
from vlframe.plugins import Plugin, find_plugins

# kind -> its protocol; that of a dataset has nothing but len() and []
PROTOCOLS = {
    "encoder": "Encoder",
    "connector": "Connector",
    "audio_encoder": "AudioEncoder",
    "audio_connector": "AudioConnector",
    "llm": "LanguageModel",
    "reader": "Reader",
    "benchmark": "Benchmark",
    "protocol": "DataProtocol",
    "layout": "Layout",
}


@dataclass(frozen=True)
class Row:
    """A component and the plugin that offers it."""

    component: Component
    plugin: Plugin

    def load_class(self) -> type:
        module_name, class_name = self.component.path.split(":")
        try:
            return getattr(import_module(module_name), class_name)
        except Exception as error:  # a stranger's code; say whose it is
            name = f"{self.component.kind} {self.component.name!r}"
            raise PluginError(
                f"{name} of plugin {self.plugin.name} cannot be imported from {self.component.path}: "
                f"{type(error).__name__}: {error}"
            ) from error

    @cached_property
    def schema(self) -> type:
        """A dataclass of the row's parameters and defaults, led by ``name``: what Hydra checks a config against."""
        params = self.component.params
        fields: list[Any] = [("name", str, field(default=self.component.name))]
        if params is None:
            return dataclasses.make_dataclass(_camel(self.component.name) + "Params", fields)
        kind = params if isinstance(params, type) else type(params)
        hints = typing.get_type_hints(kind)
        for item in dataclasses.fields(kind):
            fields.append((item.name, hints[item.name], _default(item, params)))
        return dataclasses.make_dataclass(kind.__name__, fields, kw_only=True)


class Registry:
    """Every component that can be named."""

    def __init__(self, plugins: Sequence[Plugin]) -> None:
        self.plugins = list(plugins)
        self._rows: dict[tuple[str, str], Row] = {}
        for plugin in plugins:
            for component in plugin.components:
                self._add(Row(component, plugin))

    @classmethod
    def installed(cls, paths: Sequence[str] = (), strict: bool = False) -> "Registry":
        return cls(find_plugins(paths, strict))

    def _add(self, row: Row) -> None:
        key = (row.component.kind, row.component.name)
        if key in self._rows:
            first = self._rows[key].plugin
            raise PluginError(
                f"two plugins offer the {key[0]} {key[1]!r}: {first.name} (from {first.distribution} {first.version}) "
                f"and {row.plugin.name} (from {row.plugin.distribution} {row.plugin.version}); uninstall or rename one"
            )
        self._rows[key] = row

    def set_aside(self, plugin: Plugin, reason: str) -> None:
        """Treat a plugin as broken after all: what it offers cannot be used."""
        broken = dataclasses.replace(plugin, components=(), conf=None, reason=reason)
        self.plugins = [broken if item is plugin else item for item in self.plugins]
        self._rows = {key: row for key, row in self._rows.items() if row.plugin is not plugin}

    @property
    def broken(self) -> list[Plugin]:
        return [plugin for plugin in self.plugins if not plugin.works]

    def rows(self, kind: str | None = None) -> Iterator[Row]:
        """All rows, or those of one kind, ordered by kind and name."""
        if kind is not None and kind not in KINDS:
            raise UnknownName(f"there is no kind {kind!r}; kinds are {', '.join(KINDS)}")
        order = {name: index for index, name in enumerate(KINDS)}
        for key in sorted(self._rows, key=lambda key: (order[key[0]], key[1])):
            if kind in (None, key[0]):
                yield self._rows[key]

    def names(self, kind: str) -> list[str]:
        return [row.component.name for row in self.rows(kind)]

    def row(self, kind: str, name: str) -> Row:
        if (kind, name) in self._rows:
            return self._rows[kind, name]
        names = self.names(kind)
        raise UnknownName(self.unknown(kind, name, names))

    def unknown(self, kind: str, name: str, options: Sequence[str]) -> str:
        """What to say about a name that nothing has: what there is, and which broken plugin might have had it."""
        message = f"no {kind} named {name!r}; there are {', '.join(options) or 'none'}{did_you_mean(name, options)}"
        if self.broken:
            reasons = "; ".join(f"{plugin.name} ({plugin.reason})" for plugin in self.broken)
            message += f". These plugins did not load and may have it: {reasons}"
        return message

    def check(self, kind: str, config: Mapping[str, Any]) -> dict[str, Any]:
        """The config of a component as plain values, checked against its row's types."""
        from omegaconf import OmegaConf
        from omegaconf.errors import OmegaConfBaseException

        if config is None:
            raise ConfigError(f"there is no {kind}; choose one of {', '.join(self.names(kind))}")
        if not isinstance(config, Mapping) and not hasattr(config, "keys"):
            raise ConfigError(
                f"the {kind} is {config!r}, where its settings should be; a part inside another is chosen with its "
                f"place, like +{kind}@benchmark.{kind}={config}"
            )
        if "name" not in config:
            raise ConfigError(f"the {kind} has no 'name'; installed are {', '.join(self.names(kind))}")
        row = self.row(kind, config["name"])
        try:
            # Resolved where it stands, so that it may refer to the rest: connector.queries=${media.frames}
            given = OmegaConf.to_container(config, resolve=True) if OmegaConf.is_config(config) else config
            merged = OmegaConf.merge(OmegaConf.structured(row.schema), given)
            missing = sorted(OmegaConf.missing_keys(merged))
            values = OmegaConf.to_container(merged, resolve=True)
        except OmegaConfBaseException as error:
            allowed = ", ".join(item.name for item in dataclasses.fields(row.schema))
            first_line = str(error).splitlines()[0]
            raise ConfigError(f"{kind} {row.component.name!r}: {first_line} (its keys are {allowed})") from error
        if missing:
            raise ConfigError(f"{kind} {row.component.name!r} needs a value for {', '.join(missing)}")
        return typing.cast(dict[str, Any], values)

    def build(self, kind: str, config: Mapping[str, Any], **neighbours: Any) -> Any:
        """The component that a config names.

        ``neighbours`` come from the parts beside it: ``in_dim`` and ``out_dim``, or the built data set of a benchmark
        in place of its config.
        """
        values = self.check(kind, config)
        name = values.pop("name")
        values |= neighbours
        row = self.row(kind, name)
        cls = row.load_class()
        try:
            inspect.signature(cls).bind(**values)
        except TypeError as error:
            raise PluginError(
                f"{kind} {name!r} of plugin {row.plugin.name}: {row.component.path} does not take its own parameters "
                f"({error}); it is called with {', '.join(values) or 'nothing'}"
            ) from error
        built = cls(**values)
        if lacking := lacks(kind, built):
            raise PluginError(
                f"{kind} {name!r} of plugin {row.plugin.name} has no {' and no '.join(lacking)}, which every {kind} "
                f"has; vlframe.testing says what is promised"
            )
        return built


def lacks(kind: str, built: Any) -> list[str]:
    """Of what the protocol of a kind (in ``vlframe.contracts``) promises, the attributes and methods that are missing.

    None is read: a tokenizer that is fetched at its first use stays where it is.
    """
    from vlframe import contracts

    if kind not in PROTOCOLS:
        return []
    protocol = getattr(contracts, PROTOCOLS[kind])
    promised = [word for word in {**protocol.__annotations__, **vars(protocol)} if not word.startswith("_")]
    there = set(dir(built))
    return [word for word in promised if word not in there and not hasattr(built, word)]


def _default(item: dataclasses.Field, params: Any) -> Any:
    """A field with the row's default: that of the instance, or of the dataclass, or none (Hydra's '???')."""
    if not isinstance(params, type):
        value = getattr(params, item.name)
        return field(default_factory=lambda value=value: value) if value.__hash__ is None else field(default=value)
    if item.default_factory is not MISSING:
        return field(default_factory=item.default_factory)
    return field(default="???" if item.default is MISSING else item.default)


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))
