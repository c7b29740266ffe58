"""Lightning's loggers and callbacks by ``_target_``: the one place where a config names a class."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from omegaconf import OmegaConf

from vlframe.errors import ConfigError

PLACES = ("lightning.pytorch.loggers", "lightning.pytorch.callbacks")


def instantiate(configs: Any, more: Mapping[str, Any] | None = None) -> list[Any]:
    """One object for each named config. ConfigError for a class that is not Lightning's, or values that are not plain:
    a config may come from a stranger, and naming a function is running it.

    ``more`` are keyword arguments for those whose class takes them.
    """
    built = []
    for name, item in configs.items():
        values = OmegaConf.to_container(item, resolve=True) if OmegaConf.is_config(item) else dict(item)
        kind = _class_of(name, str(values.pop("_target_", "")))
        _refuse_names_inside(name, values)
        taken = inspect.signature(kind).parameters
        try:
            built.append(kind(**{**values, **{key: value for key, value in (more or {}).items() if key in taken}}))
        except (TypeError, ImportError) as error:
            raise ConfigError(f"{name}: {kind.__name__} cannot be made: {' '.join(str(error).split())}") from error
    return built


def _class_of(name: str, target: str) -> type:
    """Only what those two modules offer themselves: a longer path would lead through them to anything they import."""
    module_name, _, class_name = target.rpartition(".")
    if module_name in PLACES:
        module = import_module(module_name)
        if class_name in module.__all__:
            return getattr(module, class_name)
    raise ConfigError(
        f"{name} has the _target_ {target!r}; only the classes of {' and '.join(PLACES)} can be named there, like "
        f"{PLACES[1]}.LearningRateMonitor"
    )


def _refuse_names_inside(name: str, value: Any) -> None:
    if isinstance(value, Mapping):
        hidden = [key for key in value if str(key).startswith("_")]
        if hidden:
            raise ConfigError(f"{name} has {', '.join(map(str, hidden))} inside it; its values can be plain ones alone")
    for item in value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else []:
        _refuse_names_inside(name, item)
