"""Declares a key of the configuration: default, text, choices and bounds in one place.

``check_values``, ``--help`` and the reference page are made from these declarations.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

MISSING = "???"  # the value of a key that a user has to give


@dataclass(frozen=True)
class Law:
    """The meaning of a key and the values it allows. ``None`` is always allowed if the type allows it."""

    text: str
    choices: tuple[str, ...] = ()
    at_least: float = -math.inf
    above: float = -math.inf
    at_most: float = math.inf
    below: float = math.inf
    items: bool = False  # choices, bounds and rule hold for each item of a list; a mapping holds several components
    component: str = ""  # the key holds a component of this kind: a name and its parameters
    components: str = ""  # the key holds any number of components of this kind, by name
    part: bool = False  # the component is a part of the model, which stages train
    some_of: type | None = None  # a mapping of some keys of this schema
    rule: Callable[[Any], str] | None = None  # what is wrong with a value; "" = nothing
    like: str = ""  # an example value, shown in messages about a missing required key

    @property
    def bounds(self) -> str:
        """Return the bounds in words; empty if there are none."""
        if self.at_least > -math.inf and self.at_most < math.inf:
            return f"between {self.at_least:g} and {self.at_most:g}"
        words = {"at least": self.at_least, "above": self.above, "at most": self.at_most, "below": self.below}
        return " and ".join(f"{word} {value:g}" for word, value in words.items() if math.isfinite(value))

    def holds(self, number: float) -> bool:
        """Return whether a number is inside the bounds. Infinite numbers are outside any bounds."""
        if not self.bounds:
            return True
        inside = self.at_least <= number <= self.at_most and self.above < number < self.below
        return inside and math.isfinite(number)


def key(default: Any, text: str, **law: Any) -> Any:
    """Declare a dataclass field. ``default`` is a value or a callable that makes one; ``law`` are the fields of
    ``Law``.
    """
    metadata = {"law": Law(text, **law)}
    if callable(default):
        return dataclasses.field(default_factory=default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Key:
    """One declared key of a schema."""

    name: str
    hint: Any
    law: Law
    field: dataclasses.Field[Any]

    @property
    def schema(self) -> type | None:
        """Return the dataclass that the key holds, if any."""
        return self.hint if dataclasses.is_dataclass(self.hint) else None  # type: ignore[return-value]

    @property
    def item_schema(self) -> type | None:
        """Return the dataclass of each value, if the key holds a mapping of them."""
        arguments = typing.get_args(self.hint)
        named = typing.get_origin(self.hint) is dict and dataclasses.is_dataclass(arguments[1])
        return arguments[1] if named else None

    @property
    def default(self) -> Any:
        if self.field.default_factory is not dataclasses.MISSING:
            return self.field.default_factory()
        return None if self.field.default is dataclasses.MISSING else self.field.default


def keys_of(schema: type) -> tuple[Key, ...]:
    """Return the declared keys of a schema, in order."""
    return _keys_of(schema)


@functools.cache
def _keys_of(schema: type) -> tuple[Key, ...]:
    hints = typing.get_type_hints(schema)
    plain = Law("")
    return tuple(
        Key(item.name, hints[item.name], item.metadata.get("law", plain), item) for item in dataclasses.fields(schema)
    )


def places(schema: type, values: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield the path, the kind and the containing mapping of each component in ``values`` (plain values of this
    schema).
    """
    for item in keys_of(schema):
        value = values.get(item.name)
        if item.law.component and item.law.items and isinstance(value, Mapping):
            several = typing.cast(dict[str, Any], value)
            yield from ((f"{path}{item.name}.{name}", item.law.component, several) for name in value if value[name])
        elif item.law.component and value not in (None, MISSING):
            yield f"{path}{item.name}", item.law.component, typing.cast(dict[str, Any], values)
        elif item.law.components and isinstance(value, dict):
            for name, inner in value.items():
                if is_component(inner):
                    yield f"{path}{item.name}.{name}", item.law.components, value
        elif item.schema is not None and isinstance(value, Mapping):
            yield from places(item.schema, value, f"{path}{item.name}.")
        elif item.item_schema is not None and isinstance(value, Mapping):
            for name, inner in value.items():
                yield from places(item.item_schema, inner, f"{path}{item.name}.{name}.")


def is_component(value: Any) -> bool:
    """Return whether a callback or logger is a plugin's component rather than a Lightning class given by
    ``_target_``.
    """
    return isinstance(value, Mapping) and "name" in value and "_target_" not in value


def missing_keys(values: Any, path: str = "") -> list[str]:
    """Return the paths of values still missing, as the command line writes them (``mixture.0.path``)."""
    if isinstance(values, Mapping):
        pairs = [(str(name), value) for name, value in values.items()]
    elif isinstance(values, list | tuple):
        pairs = [(str(number), value) for number, value in enumerate(values)]
    else:
        return [path] if isinstance(values, str) and values == MISSING else []
    found = [missing_keys(value, f"{path}.{name}" if path else name) for name, value in pairs]
    return sorted(item for items in found for item in items)
