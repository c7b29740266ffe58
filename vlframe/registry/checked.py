"""Marks a component's parameters as checked and read-only."""

from __future__ import annotations

from typing import Any, NoReturn


class CheckedComponent(dict[str, Any]):
    """The ``name`` and parameters of a component, checked against its own types. Read-only; a changed copy
    (``{**config, "path": …}``) is an ordinary dict again, which is checked when used.
    """

    def _refuse(self, *values: Any, **more: Any) -> NoReturn:
        raise TypeError("a checked config is not changed; make a new mapping of it")

    __setitem__ = __delitem__ = __ior__ = update = pop = popitem = setdefault = clear = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (dict(self),)
