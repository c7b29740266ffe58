"""Checks beyond the types of a config: the choices, bounds and rules that its keys declare."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vlframe.config.fields import MISSING, Key, Law, keys_of, missing_keys
from vlframe.errors import ConfigError


def check_values(schema: type, values: Mapping[str, Any], *, saved: bool = False, path: str = "") -> None:
    """Raise ConfigError for a plain value that has its type but breaks its key's law.

    A ``saved`` config may have a stage of no steps: what ``vlframe convert`` writes was not trained here.
    """
    for item in keys_of(schema):
        value = values.get(item.name)
        if item.name not in values or value is None or value == MISSING:
            continue
        where = f"{path}{item.name}"
        inner = item.schema or item.law.some_of
        if inner is not None:
            check_values(inner, value, saved=saved, path=f"{where}.")
        elif item.item_schema is not None:
            _check_each(item.item_schema, value, saved, where)
        else:
            _check(where, value, item)
    problem = getattr(schema, "problem", None)
    if problem is not None and (found := problem(path.rstrip("."), values)):
        raise ConfigError(found)


def check_given(schema: type, values: Mapping[str, Any]) -> None:
    """Raise ConfigError if a command lacks a required key."""
    laws = {item.name: item.law for item in keys_of(schema)}
    missing = [name for name in laws if values.get(name) == MISSING]
    if missing:
        like = " ".join(f"{name}={laws[name].like or '…'}" for name in missing)
        raise ConfigError(f"this command needs {' and '.join(missing)}; give it like {like}")


def refuse_missing(values: Any, who: str) -> None:
    """Raise ConfigError for values that are still missing, each by its key."""
    if missing := missing_keys(values):
        raise ConfigError(f"{who} needs values for {', '.join(missing)}; give them, like {missing[0]}=…")


def _check_each(schema: type, items: Mapping[str, Any], saved: bool, path: str) -> None:
    for name, values in items.items():
        if not (saved and values.get("steps") == 0):
            check_values(schema, values, saved=saved, path=f"{path}.{name}.")


def _check(where: str, value: Any, item: Key) -> None:
    law = item.law
    for one in _as_list(value) if law.items else [value]:
        if law.choices and one not in law.choices:
            raise ConfigError(f"{where} is {one!r}; it can be {', '.join(law.choices)}")
        if isinstance(one, int | float) and not law.holds(one):
            raise ConfigError(f"{where} is {one:g}; it must be {law.bounds}")
        if law.rule is not None and (problem := law.rule(one)):
            shown = list(one) if isinstance(one, tuple) else one
            raise ConfigError(f"{where} is {shown!r}; {problem}")


def _as_list(value: Any) -> list[Any]:
    return [value] if isinstance(value, str) else list(value)


def law_in_words(law: Law) -> str:
    """Return the choices or bounds of a key, for help."""
    return f"one of {', '.join(law.choices)}" if law.choices else law.bounds
