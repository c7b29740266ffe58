"""Converts plain values to typed ones and back; besides ``vlframe.composer``, the only user of OmegaConf."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException
from yaml import YAMLError

from vlframe.config.fields import MISSING, keys_of
from vlframe.config.items import items_problem
from vlframe.config.open_schema import open_schema
from vlframe.config.problems import key_problem, value_problem
from vlframe.errors import ConfigError, did_you_mean, one_line
from vlframe.paths import cache_folder

T = TypeVar("T")

# ``${cache:weights/x}`` in a config is a file in vlframe's cache folder on this machine.
OmegaConf.register_new_resolver("cache", lambda path: str(cache_folder() / path), replace=True)


class UnknownParameter(ConfigError):
    """A component's settings have a key that is not among its parameters."""


def typed(schema: type, *layers: Mapping[str, Any]) -> dict[str, Any]:
    """Give plain values the types of a schema: its defaults, then each layer merged over those before it.

    ConfigError names the key that is unknown or of another type.
    """
    for layer in layers:
        _refuse_items(schema, plain(layer))
    try:
        merged = OmegaConf.unsafe_merge(OmegaConf.structured(open_schema(schema)), *(plain(layer) for layer in layers))
        result = _container(merged)
        for layer in layers[-1:]:
            result = _still_missing(result, plain(layer))
        return result | {
            item.name: _some_typed(item.law.some_of, item.name, result[item.name])
            for item in keys_of(schema)
            if item.law.some_of is not None and isinstance(result[item.name], Mapping)
        }
    except OmegaConfBaseException as error:
        raise ConfigError(key_problem(error)) from error


def _some_typed(schema: type, name: str, given: Mapping[str, Any]) -> Any:
    """Give some of a schema's keys their types, and leave the others out."""
    _refuse_items(schema, plain(given), name)
    whole = OmegaConf.create({name: OmegaConf.structured(open_schema(schema))})
    return _those_of(given, _container(OmegaConf.unsafe_merge(whole, {name: given}))[name])


def _refuse_items(schema: type, values: Any, path: str = "") -> None:
    if problem := items_problem(schema, values, path):
        raise ConfigError(problem)


def _those_of(given: Any, values: Any) -> Any:
    if isinstance(given, Mapping) and isinstance(values, Mapping):
        return {name: _those_of(inner, values[name]) for name, inner in given.items()}
    return given if given == MISSING else values


def _still_missing(values: Any, given: Any) -> Any:
    """Restore ``???`` where it was given: OmegaConf would keep the default instead."""
    if isinstance(values, Mapping) and isinstance(given, Mapping):
        return {name: _still_missing(value, given.get(name)) for name, value in values.items()}
    if isinstance(values, list) and isinstance(given, list) and len(values) == len(given):
        return [_still_missing(*pair) for pair in zip(values, given, strict=True)]
    return MISSING if isinstance(given, str) and given == MISSING else values


def check_parameters(schema: type, label: str, given: Any) -> dict[str, Any]:
    """Check a component's parameters against its own dataclass and return plain values; ``???`` is left to the
    caller.
    """
    try:
        # Resolved in place, so that it may refer to other keys: connector.queries=${media.frames}
        values = OmegaConf.to_container(given, resolve=True) if OmegaConf.is_config(given) else plain(given)
        if problem := items_problem(schema, values):
            raise ConfigError(f"{label}: {problem}")
        merged = _container(OmegaConf.unsafe_merge(OmegaConf.structured(schema), values))
        return typing.cast(dict[str, Any], _still_missing(merged, values))
    except (ConfigKeyError, ConfigAttributeError) as error:
        there = error.parent_node
        names = list(map(str, there)) if isinstance(there, DictConfig) else [f.name for f in dataclasses.fields(schema)]
        hint = did_you_mean(str(error.key), names)
        raise UnknownParameter(
            f"{label} has no parameter {error.full_key or error.key!r}; it has {', '.join(names)}{hint}"
        ) from error
    except OmegaConfBaseException as error:
        allowed = ", ".join(item.name for item in dataclasses.fields(schema))
        raise ConfigError(f"{label}: {value_problem(error)} (its keys are {allowed})") from error


@cache
def why_untyped(schema: type) -> str:
    """Return why a component's parameters cannot be typed; "" if they can."""
    try:
        OmegaConf.structured(schema)
    except OmegaConfBaseException as error:
        return str(error).splitlines()[0]
    return ""


def laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Merge plain values over others, key by key at every depth."""
    return _container(OmegaConf.unsafe_merge(plain(below), plain(above)), resolve=False)


def frozen(schema: type[T], values: Mapping[str, Any]) -> T:
    """Build the frozen dataclass from plain values that have been typed."""
    return schema(**{item.name: _frozen(item.hint, item.item_schema, values[item.name]) for item in keys_of(schema)})


def _frozen(hint: Any, item_schema: type | None, value: Any) -> Any:
    if dataclasses.is_dataclass(hint):
        return frozen(hint, value)  # type: ignore[arg-type]
    if item_schema is not None:
        return {name: frozen(item_schema, inner) for name, inner in value.items()}
    is_tuple = any(typing.get_origin(option) is tuple for option in (hint, *typing.get_args(hint)))
    return tuple(value) if is_tuple and isinstance(value, list) else value


def plain(value: Any) -> Any:
    """Convert a config, or a part of one, to dictionaries, lists and values that YAML and JSON can hold."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(name): plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, Enum):
        return value.name
    return str(value) if isinstance(value, Path) else value


def to_yaml(config: Any) -> str:
    """Return a config as the text of a config file."""
    return OmegaConf.to_yaml(OmegaConf.create(plain(config)))


def read_yaml(path: Path, resolve: bool = True) -> dict[str, Any]:
    """Read the plain values of a config file; with ``resolve``, references are resolved. ConfigError: invalid YAML, an
    unresolvable reference, or tags that would instantiate classes.
    """
    try:
        loaded = OmegaConf.load(path)
        if not isinstance(loaded, DictConfig):
            raise ConfigError(f"{path} is no config: it has no keys at its top")
        return _container(loaded, resolve)
    except (YAMLError, UnicodeDecodeError, OmegaConfBaseException) as error:
        raise ConfigError(f"{path} cannot be read as a config: {one_line(error)}") from error


def unresolved(config: DictConfig) -> dict[str, Any]:
    """Return the plain values of a composed config with their references; ``typed`` resolves them, once."""
    return typing.cast(dict[str, Any], OmegaConf.to_container(config))


def _container(config: Any, resolve: bool = True) -> dict[str, Any]:
    return typing.cast(dict[str, Any], OmegaConf.to_container(config, resolve=resolve))
