"""Explains overrides of items of lists, about which Hydra raises errors that name no key."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from vlframe.composer.command_line import CommandLine
from vlframe.composer.explain import REFUSED
from vlframe.errors import ConfigError, UserError


@contextmanager
def items_explained(line: CommandLine, compose: Callable[[Sequence[str]], DictConfig]) -> Iterator[None]:
    """Raise ConfigError instead of what Hydra raises about a key inside a list. ``compose`` composes some overrides."""
    try:
        yield
    except UserError:
        raise
    except (*REFUSED, ValueError, TypeError):
        _refuse_items_that_are_not_there(line, compose)
        raise


def _refuse_items_that_are_not_there(line: CommandLine, compose: Callable[[Sequence[str]], DictConfig]) -> None:
    """Raise ConfigError if a key goes into a list that has no such item."""
    keys = [word.key for word in line.overrides if _is_key(word.key)]
    groups = [word for word in line.overrides if not _is_key(word.key)]
    if not keys:
        return
    try:
        config = compose([f"{word.sign}{word.key}={word.sweep[0]}" if word.sweep else word.text for word in groups])
    except REFUSED:  # which is then what is wrong
        return
    for key in keys:
        _refuse_item(config, key)


def _is_key(key: str) -> bool:
    """Return whether a word changes a key, and does not choose a preset."""
    return "." in key.partition("@")[0]


def _refuse_item(config: DictConfig, key: str) -> None:
    names = key.split(".")
    for depth in range(1, len(names)):
        place, name = ".".join(names[:depth]), names[depth]
        held: Any = OmegaConf.select(config, place, throw_on_resolution_failure=False)
        if isinstance(held, ListConfig) and not (name.isdigit() and int(name) < len(held)):
            items = f"its items are {place}.0 to {place}.{len(held) - 1}" if len(held) else "it has no items"
            raise ConfigError(f"there is no key {key!r}: {place} is a list, and {items}; give all of it, like "
                              f"{place}=[first,second]")  # fmt: skip
