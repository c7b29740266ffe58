"""Builds a composition on the meta device, to check that its parts fit before anything is downloaded."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_META: ContextVar[bool] = ContextVar("vlframe_meta", default=False)


def is_meta() -> bool:
    """Return whether a composition is being built on the meta device only to check that its parts fit.

    A component that reads pretrained weights in ``__init__`` must then skip them and build only its architecture.
    """
    return _META.get()


def needs_values(error: Exception) -> bool:
    """Return whether an error means that a module reads values, which tensors on the meta device do not have."""
    text = str(error)
    told = re.search(r"\bmeta\b|item\(\)|data-dependent", text, re.IGNORECASE)
    return bool(told) or isinstance(error, NotImplementedError | ImportError)


@contextmanager
def meta_build() -> Iterator[None]:
    """Put everything constructed inside on the meta device, without reading weights."""
    from vlframe.contracts.meta_device import MetaDevice

    token = _META.set(True)
    try:
        with MetaDevice():
            yield
    finally:
        _META.reset(token)
