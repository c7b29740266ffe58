"""Turns plain values into a frozen config: typed, components checked, laws kept, no secrets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from vlframe.config.checks import check_values
from vlframe.config.fields import places
from vlframe.config.secrets import refuse_secret_values
from vlframe.config.typed import frozen, plain, typed
from vlframe.errors import ConfigError, UnknownName
from vlframe.registry.registry import Registry

T = TypeVar("T")
OF_TRAINING = ("dataset", "benchmark", "callback", "logger")  # of a saved run, not needed to use its model


def settled(schema: type[T], values: Mapping[str, Any], registry: Registry, *, saved: bool = False) -> T:
    """Return the frozen config of plain values. Missing values (``???``) stay missing. ``saved``: as ``settled_typed``
    has it.
    """
    return settled_typed(schema, typed(schema, values), registry, saved=saved)


def settled_typed(schema: type[T], result: dict[str, Any], registry: Registry, *, saved: bool = False) -> T:
    """Return the frozen config of values that have the types of the schema's own keys.

    In a ``saved`` config, data, callbacks and loggers that no installed plugin has are left unchanged; the code that
    builds them raises the error.
    """
    refuse_secret_values(plain(result))
    check_values(schema, result, saved=saved)
    for path, kind, holder in list(places(schema, result)):
        name = path.rpartition(".")[2]
        try:
            holder[name] = registry.check(kind, holder[name], complete=False)
        except (ConfigError, UnknownName):
            if not (saved and kind in OF_TRAINING):
                raise
    return frozen(schema, result)
