"""The schema's dataclasses, unfrozen: OmegaConf refuses to change nodes of frozen ones while it composes.

Hydra's launchers send them to other processes, which make them again from their names: a dataclass pickled by value has
other sentinels than ``dataclasses`` looks for. A name is that of the class in ``vlframe.config.schema``, followed by
the parts that a run has beyond the declared ones.
"""

from __future__ import annotations

import dataclasses
import typing
from functools import cache
from typing import Any

from vlframe.config import schema as schemas
from vlframe.config.fields import keys_of

SEPARATOR = "__"


@cache
def open_schema(schema: type) -> type:
    """Return an unfrozen copy of the dataclass and of all nested in it."""
    fields = [(item.name, _hint(item.hint), _field(item.field)) for item in keys_of(schema)]
    made = dataclasses.make_dataclass(schema.__name__, fields)
    made.__module__, made.__qualname__ = __name__, _name(schema)
    return made


def __getattr__(name: str) -> type:
    """Make a class again from its name, when another process unpickles it."""
    base, *parts = name.split(SEPARATOR)
    if not hasattr(schemas, base):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if not parts:
        return open_schema(getattr(schemas, base))
    declared = schemas.parts_of(schemas.RunConfig())
    run = schemas.run_schema_of((*declared, *parts))
    stage = next(item.item_schema for item in keys_of(run) if item.name == "stages")
    return open_schema(run if base == run.__name__ else typing.cast(type, stage))


def _name(schema: type) -> str:
    declared = {item.name for item in dataclasses.fields(getattr(schemas, schema.__name__, schema))}
    more = [item.name for item in dataclasses.fields(schema) if item.name not in declared]
    return SEPARATOR.join([schema.__name__, *more])


def _hint(hint: Any) -> Any:
    if dataclasses.is_dataclass(hint):
        return open_schema(hint)  # type: ignore[arg-type]
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is dict and dataclasses.is_dataclass(arguments[1]):
        return dict[str, open_schema(arguments[1])]  # type: ignore[arg-type, misc]
    return hint


def _field(item: dataclasses.Field[Any]) -> Any:
    if item.default_factory is dataclasses.MISSING:
        return dataclasses.field(default=item.default)
    factory = item.default_factory
    return dataclasses.field(default_factory=open_schema(factory) if dataclasses.is_dataclass(factory) else factory)
