"""The group ``debug``: shortcuts that rewrite a composed config, so that the saved config is what ran."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vlframe.config.fields import keys_of
from vlframe.errors import ConfigError
from vlframe.registry.registry import Registry


def with_debug(schema: type, values: dict[str, Any], registry: Registry) -> dict[str, Any]:
    """Apply a run's ``debug`` keys to its plain values: steps of stages, regularisation, example parts.

    ``debug.questions`` and ``debug.profiler`` are read by the evaluation and the training.
    """
    debug = values["debug"]
    for stage in values["stages"].values():
        if debug["steps"] is not None:
            stage |= {"steps": debug["steps"], "epochs": None}
        if debug["samples"] is not None:
            _without_regularisation(stage)
    if debug["tiny"]:
        for item in keys_of(schema):
            if item.law.part and values[item.name] is not None:
                values[item.name] = _example(item.law.component, values[item.name], registry)
    return values


def _without_regularisation(stage: dict[str, Any]) -> None:
    stage["weight_decay"] = 0.0
    for settings in stage.values():
        if isinstance(settings, dict) and "lora" in settings:
            settings["weight_decay"] = None
            settings["lora"]["dropout"] = 0.0


def _example(kind: str, config: Mapping[str, Any], registry: Registry) -> dict[str, Any]:
    """Return the same component with its plugin's small example parameters."""
    row = registry.row(kind, config["name"])
    if row.example is None:
        able = [row.component.name for row in registry.rows(kind) if row.example is not None]
        raise ConfigError(
            f"debug.tiny: the {kind} {row.component.name!r} has no example parameters; choose one that has: "
            f"{', '.join(able) or 'none'}"
        )
    return {"name": row.component.name, **row.example}
