"""Checks what lists and mappings hold: OmegaConf takes a list, or a mapping, where one of plain values has an item."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from types import NoneType
from typing import Any

WORDS = {str: "one text", int: "a whole number", float: "a number", bool: "true or false", list: "a list"}
MANY = (list, tuple)


def items_problem(hint: Any, value: Any, path: str = "") -> str:
    """Return what is wrong with an item of a list, or a value of a mapping, at any depth of plain values; "" = nothing.
    ``hint`` is the type of the whole. Unresolved references (``${…}``) are let through.
    """
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _first(_fields_problems(hint, value, path))
    for option in _options(hint):
        origin, arguments = typing.get_origin(option), typing.get_args(option)
        if origin in MANY and isinstance(value, list):
            return _first(_item_problem(path, str(at), arguments[0], item) for at, item in enumerate(value))
        if origin is dict and isinstance(value, Mapping):
            return _first(_item_problem(path, name, arguments[1], item) for name, item in value.items())
    return ""


def wanted(hint: Any) -> str:
    """Return in words what a value of a type must be."""
    kind = next(option for option in _options(hint) if option is not NoneType)
    if _is_mapping(kind):
        return "a mapping"
    return "a list" if typing.get_origin(kind) in MANY else WORDS.get(kind, "one value")


def item_sentence(path: str, shown: str, wanted: str) -> str:
    """Return the sentence about an item that does not belong in a list or mapping."""
    return f"{path} holds {shown}; each item of it must be {wanted}"


def shown(value: Any) -> str:
    return "null" if value is None else repr(value)


def _fields_problems(schema: type, values: Any, path: str) -> typing.Iterator[str]:
    hints = typing.get_type_hints(schema)
    for name, value in values.items() if isinstance(values, Mapping) else ():
        if name in hints:
            yield items_problem(hints[name], value, f"{path}.{name}" if path else name)


def _item_problem(path: str, name: str, hint: Any, item: Any) -> str:
    if not _belongs(hint, item):
        return item_sentence(path, shown(item), wanted(hint))
    return items_problem(hint, item, f"{path}.{name}")


def _belongs(hint: Any, item: Any) -> bool:
    """Return whether an item is null, a list, a mapping or a plain value where its type has one of these."""
    options = _options(hint)
    if Any in options or (isinstance(item, str) and "${" in item):
        return True
    if item is None:
        return NoneType in options
    if isinstance(item, list):
        return any(option in MANY or typing.get_origin(option) in MANY for option in options)
    if isinstance(item, Mapping):
        return any(map(_is_mapping, options))
    return not all(option is NoneType or _is_mapping(option) or typing.get_origin(option) in MANY for option in options)


def _is_mapping(option: Any) -> bool:
    return option is dict or typing.get_origin(option) is dict or dataclasses.is_dataclass(option)


def _options(hint: Any) -> tuple[Any, ...]:
    """Return the types of a union, or the type itself."""
    union = typing.get_origin(hint) is typing.Union or type(hint).__name__ == "UnionType"
    return typing.get_args(hint) if union else (hint,)


def _first(problems: typing.Iterable[str]) -> str:
    return next((problem for problem in problems if problem), "")
