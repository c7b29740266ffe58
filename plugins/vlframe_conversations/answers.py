"""Read a row's fields for benchmarks: the right answers, the options, and a category."""

import json
import math
from collections.abc import Mapping
from string import ascii_uppercase
from typing import Any

from vlframe import DataError


def read_answers(row: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """Return the right answers of a row, one text or a list of them; () if it has none. DataError if not text."""
    given = row.get("answer")
    if not isinstance(given, list):
        answer = _text(row, "answer", where)
        return () if answer is None else (answer,)
    if not given or not all(isinstance(item, str) for item in given):
        raise DataError(f"{where}: 'answer' is a text or a list of texts that are all right, not {given!r}")
    return tuple(dict.fromkeys(given))


def read_options(row: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """Return the options. DataError if they are not a list of texts."""
    options = row.get("options", [])
    if not isinstance(options, list) or not all(isinstance(option, str) for option in options):
        hint = ""
        if isinstance(options, Mapping) and all(isinstance(option, str) for option in options.values()):
            hint = f"; write them alone, in order: {json.dumps(list(options.values()), ensure_ascii=False)}"
        raise DataError(f"{where}: 'options' is a list of texts, not {options!r}{hint}")
    return tuple(options)


def read_category(row: Mapping[str, Any], where: str) -> str:
    """Return the category that the question is scored in; "" for none."""
    return _text(row, "category", where) or ""


def _text(row: Mapping[str, Any], key: str, where: str) -> str | None:
    value = row.get(key)
    if value is None or isinstance(value, str):
        return value
    options = row.get("options")
    if key == "answer" and isinstance(value, int) and not isinstance(value, bool) and isinstance(options, list):
        last = ascii_uppercase[len(options) - 1 : len(options)]
        raise DataError(
            f"{where}: 'answer' is {value}, and an index is not read, since it may count from 0 or from 1; write the "
            f"letter, A to {last}, or the option's text"
        )
    raise DataError(f"{where}: {key!r} is text, not {value!r}; {_as_text(value, isinstance(options, list))}")


def _as_text(value: Any, among_options: bool) -> str:
    """Return how a value that is no text is written as one."""
    if isinstance(value, float) and math.isnan(value):
        return "a text that there is not is null, or left out"
    if isinstance(value, bool):
        return "write the option's letter or text" if among_options else 'write the words, as in "yes"'
    if isinstance(value, int | float):
        return f'write it in quotes: "{value}"'
    texts = [item for item in value.values() if isinstance(item, str)] if isinstance(value, Mapping) else []
    return f"write its text alone: {json.dumps(texts[0], ensure_ascii=False)}" if len(texts) == 1 else "write one text"
