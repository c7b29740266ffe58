"""Imports what plugins name by path, when it is used, and checks that it is what it should be."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from vlframe.errors import PluginError, named_line


def imported(path: str, what: str) -> Any:
    """Return what ``path`` ("module:name") names. PluginError: it cannot be imported; ``what`` says whose it is."""
    module, _, name = path.partition(":")
    try:
        return getattr(import_module(module), name)
    except Exception as error:  # third-party code: name its plugin
        raise PluginError(f"{what} cannot be imported from {path}: {named_line(error)}") from error


def lacks(contract: str, built: Any) -> list[str]:
    """Return the attributes and methods that a protocol, by its path, promises and an object lacks.

    None is accessed, so that a tokenizer loaded at its first use is not loaded here.
    """
    protocol = imported(contract, "the contract")
    promised = [word for word in {**protocol.__annotations__, **vars(protocol)} if not word.startswith("_")]
    there = set(dir(built))
    return [word for word in promised if word not in there and not hasattr(built, word)]
