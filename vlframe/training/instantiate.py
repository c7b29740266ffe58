"""Builds loggers and callbacks: plugins' by name, Lightning's by ``_target_``, the one place where a config
names a class.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from lightning.pytorch import Callback
from lightning.pytorch.loggers.logger import Logger

from vlframe.config.fields import is_component
from vlframe.errors import ConfigError, PluginError, UserError, did_you_mean, one_line

if TYPE_CHECKING:
    from vlframe.registry.registry import Registry

PLACES = ("lightning.pytorch.loggers", "lightning.pytorch.callbacks")
EXTRAS = {"WandbLogger": "wandb", "TensorBoardLogger": "tensorboard", "MLFlowLogger": "mlflow"}  # of vlframe


def lightning_objects(
    kind: str, configs: Mapping[str, Any], registry: Registry, more: Mapping[str, Any] | None = None
) -> list[Any]:
    """Build a callback or logger for each named config. ``more`` are keyword arguments for classes that take them.

    ConfigError, PluginError: one cannot be built, or is not Lightning's.
    """
    return [
        _component(kind, item, registry, more or {}) if is_component(item) else instantiate({name: item}, more)[0]
        for name, item in configs.items()
    ]


def _component(kind: str, item: Mapping[str, Any], registry: Registry, more: Mapping[str, Any]) -> Any:
    taken = inspect.signature(component_class(kind, item, registry)).parameters
    given = {key: value for key, value in more.items() if key in taken and key not in item}
    try:
        return registry.build(kind, item, **given)
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # of the plugin, or of a service's library
        name = item["name"]
        raise PluginError(
            f"{kind} {name!r} of plugin {registry.row(kind, name).plugin.name} cannot be made: {one_line(error)}; "
            f"leave it out, or fix that"
        ) from error


def component_class(kind: str, item: Mapping[str, Any], registry: Registry) -> type:
    """Return the class of a plugin's callback or logger. PluginError: it is not a subclass of Lightning's."""
    row = registry.row(kind, registry.check(kind, item)["name"])
    found, base = row.load_class(), {"callback": Callback, "logger": Logger}[kind]
    if not issubclass(found, base):
        raise PluginError(
            f"{kind} {row.component.name!r} of plugin {row.plugin.name}: {row.component.path} is no "
            f"lightning.pytorch {base.__name__}, and what Lightning calls has to be one"
        )
    return found


def instantiate(configs: Any, more: Mapping[str, Any] | None = None) -> list[Any]:
    """Build an object for each named config. ConfigError for a class that is not Lightning's, or values that are not
    plain: a config may come from a stranger, and naming a function would run it.

    ``more`` are keyword arguments for those whose class takes them.
    """
    built = []
    for name, item in configs.items():
        values = dict(item)
        kind = class_of(name, str(values.pop("_target_", "")))
        _refuse_names_inside(name, values)
        taken = inspect.signature(kind).parameters
        try:
            built.append(kind(**{**values, **{key: value for key, value in (more or {}).items() if key in taken}}))
        except ModuleNotFoundError as error:
            extra = EXTRAS.get(kind.__name__)
            how = f"pip install 'vlframe[{extra}]'" if extra else one_line(error)
            raise ConfigError(f"{name}: {kind.__name__} needs a package that is not installed: {how}") from error
        except (Exception, SystemExit) as error:  # of Python, or of a service's library: the config can leave it out
            raise ConfigError(f"{name}: {kind.__name__} cannot be made: {one_line(error)}") from error
    return built


def class_of(name: str, target: str) -> type:
    """Return a class that those two modules themselves offer: a longer path would reach anything they import."""
    module_name, _, class_name = target.rpartition(".")
    if module_name in PLACES:
        module = import_module(module_name)
        if class_name in module.__all__:
            return getattr(module, class_name)
        near = did_you_mean(class_name, module.__all__)
        raise ConfigError(
            f"{name}: {module_name} has no {class_name}; it has {', '.join(sorted(module.__all__))}{near}"
        )
    raise ConfigError(
        f"{name} has the _target_ {target!r}; only the classes of {' and '.join(PLACES)} can be named there, like "
        f"{PLACES[1]}.LearningRateMonitor"
    )


def _refuse_names_inside(name: str, value: Any) -> None:
    if isinstance(value, Mapping):
        hidden = [key for key in value if str(key).startswith("_")]
        if hidden:
            raise ConfigError(f"{name} has {', '.join(map(str, hidden))} inside it; its values must be plain ones")
    for item in value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else []:
        _refuse_names_inside(name, item)
