"""What is checked, and how a broken promise is told."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import torch

from vlframe.contracts import plan
from vlframe.errors import UserError
from vlframe.registry import Registry


class ContractError(AssertionError):
    """A component does not do what its kind promises."""


@dataclass
class Subject:
    """A component that is named, or a class, with the parameters it is to be checked with."""

    kind: str
    component: str | type
    params: Mapping[str, Any]
    plugins: Sequence[str] = ()  # single files, as plugins.paths

    def __post_init__(self) -> None:
        named = isinstance(self.component, str)
        self.label = f"{self.kind} {self.component if named else self.component.__name__!r}"
        if named:
            self.label = f"{self.kind} {self.component!r}"
            self.registry = Registry.installed(self.plugins)
            self.registry.row(self.kind, self.component)  # an unknown name is the caller's mistake, and says so

    def fail(self, message: str) -> NoReturn:
        raise ContractError(f"{self.label}: {message}")

    @contextmanager
    def doing(self, what: str) -> Iterator[None]:
        """Any failure inside is a broken promise, but for what vlframe itself has to say about a wrong request."""
        try:
            yield
        except (ContractError, UserError):
            raise
        except Exception as error:
            raise ContractError(f"{self.label}: {what} fails with {type(error).__name__}: {error}") from error

    def build(self, **neighbours: Any) -> Any:
        """With the same random weights every time."""
        with torch.random.fork_rng(devices=[]), self.doing("building it"):
            torch.manual_seed(0)
            if isinstance(self.component, str):
                return self.registry.build(self.kind, {"name": self.component, **self.params}, **neighbours)
            return self.component(**self.params, **neighbours)

    def plan(self, **neighbours: Any) -> Any:
        """On the meta device, as a composition is planned."""
        with plan():
            return self.build(**neighbours)

    def check_source(self) -> None:
        """A plan of a pretrained component asks for no weights, so that a composition is checked without them."""
        named = isinstance(self.component, str)
        parameters = self.registry.row(self.kind, self.component).schema.__annotations__ if named else self.params
        if "source" not in parameters:
            return
        try:
            replace(self, params={**self.params, "source": "no/such/weights"}).plan()
        except Exception as error:
            cause = error.__cause__ or error
            self.fail(
                f"a plan with a source that is not here fails with {type(cause).__name__}: {cause}; while "
                "vlframe.planning() it must build the architecture that its parameters spell out, and read no weights"
            )

    def attribute(self, part: Any, name: str, types: type | tuple[type, ...], meaning: str) -> Any:
        """An attribute that a neighbour reads."""
        if not hasattr(part, name):
            self.fail(f"has no attribute {name!r}, {meaning}")
        value = getattr(part, name)
        if not isinstance(value, types) or (isinstance(value, bool) and types is int):
            self.fail(f"{name} is {value!r}; it must be {meaning}")
        return value

    def pickles(self, value: Any, what: str) -> None:
        """It travels to data workers."""
        try:
            pickle.loads(pickle.dumps(value))
        except Exception as error:
            self.fail(f"{what} cannot be pickled, and data workers need it: {type(error).__name__}: {error}")
