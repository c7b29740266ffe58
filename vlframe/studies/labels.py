"""Labels runs: finds those that differ only in the seed, and names each choice by what distinguishes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vlframe.runs.changes import is_safe

WHOLE = ("experiment", "model", "debug")  # groups that may set any key
NAME = ".name"  # of a component; decides the meaning of its other keys
LONGEST = 40  # characters of a value


class Identity:
    """The choices of a config (presets by group) and all values that affect what is computed, except the seed."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        choices = config.get("choices") or {}
        self.choices = {f"{group}": str(name) for group, name in choices.items() if not _aside(_place(group))}
        self.values = {key: value for key, value in _leaves(config) if not _aside(key) and value is not None}

    @property
    def key(self) -> tuple[Any, ...]:
        """Return a key that is equal for runs that differ only in their seed."""
        return tuple(sorted(self.choices.items())), tuple(sorted(self.values.items()))


def labels(identities: Sequence[Identity], alone: str) -> list[str]:
    """Name each choice by the presets and keys that differ, leaving out keys implied by these presets. ``alone`` names
    one that differs in nothing.
    """
    groups = _differing([item.choices for item in identities])
    keys = _differing([item.values for item in identities])
    told = [_place(group) for group in groups]
    shown = [key for key in keys if not any(_below(key, place) for place in told)]
    components = [key.removesuffix(NAME) for key in shown if key.endswith(NAME)]  # components that differ
    shown = [key for key in shown if key.endswith(NAME) or not any(_below(key, place) for place in components)]
    names = [_written(item, groups, shown) for item in identities]
    for at, item in enumerate(identities):
        twins = [identities[other] for other, name in enumerate(names) if name == names[at] and other != at]
        if twins:
            more = [key for key in _differing([item.values, *(twin.values for twin in twins)]) if key not in shown]
            names[at] = " ".join(word for word in (names[at], _written(item, (), more)) if word)
    return [name or alone for name in names]


def _written(item: Identity, groups: Sequence[str], keys: Sequence[str]) -> str:
    words = [f"{_place(group) or group}={item.choices[group]}" for group in groups if group in item.choices]
    more = [key for key in keys if key in item.values or key.endswith(NAME)]
    return " ".join([*words, *(f"{key.removesuffix(NAME)}={_short(item.values.get(key, 'null'))}" for key in more)])


def _differing(mappings: Sequence[Mapping[str, Any]]) -> list[str]:
    names = dict.fromkeys(name for mapping in mappings for name in mapping)
    return [name for name in names if any(item.get(name) != mappings[0].get(name) for item in mappings)]


def _aside(key: str) -> bool:
    """Return whether a key does not affect what was computed. Benchmarks are free to change in a run, but
    change its scores.
    """
    return key == "seed" or (is_safe(key) and not (_below(key, "benchmark") or _below(key, "benchmarks")))


def _place(group: str) -> str:
    """Return where in a config a group's preset goes."""
    return group.partition("@")[2] or group


def _below(key: str, place: str) -> bool:
    return place in WHOLE or key == place or key.startswith(f"{place}.")


def _leaves(config: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Return every value by its dotted key; lists as text, so that they can be sorted and compared."""
    found: list[tuple[str, Any]] = []
    for name, value in config.items():
        if isinstance(value, Mapping):
            found += _leaves(value, f"{prefix}{name}.")
        else:
            found.append((f"{prefix}{name}", value if value is None else _text(value)))
    return found


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_text, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _short(text: str) -> str:
    text = Path(text).name if text.startswith("/") else text
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
