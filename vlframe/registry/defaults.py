"""The defaults of a component's parameters, for code that needs them without a config."""

from dataclasses import MISSING, fields
from typing import Any

from vlframe.config.asking import keys_of_every
from vlframe.registry.registry import Registry


def default_parameters(kind: str, name: str) -> dict[str, Any]:
    """Return the parameters of an installed component that have a default, with their values."""
    defaults = {}
    for item in fields(Registry.installed().row(kind, name).schema):
        value = item.default if item.default_factory is MISSING else item.default_factory()
        if value != "???" and item.name not in ("name", *keys_of_every(kind)):
            defaults[item.name] = value
    return defaults
