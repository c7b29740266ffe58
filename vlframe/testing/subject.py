"""The component under check, and how broken contracts are reported."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

from vlframe.contracts.declared import WrongDeclaration, width_of
from vlframe.contracts.meta import meta_build
from vlframe.errors import UserError, named_line
from vlframe.registry.registry import Registry
from vlframe.testing.surroundings import changed_settings, random_states, seeded, settings

WITHOUT_CHANCE = ("dataset", "benchmark", "sampler", "reader", "pixels", "processor")
CHANCE = "chance belongs to the run, by its seed"


class ContractError(AssertionError):
    """A component breaks the contract of its kind."""


@dataclass
class Steps:
    """What checks have tried, in words: what passed, and what could not be tried."""

    passed: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


_listener: ContextVar[Steps | None] = ContextVar("listener", default=None)


@contextmanager
def listening() -> Iterator[Steps]:
    """Yield the steps of the checks that run inside, as they pass."""
    steps = Steps()
    token = _listener.set(steps)
    try:
        yield steps
    finally:
        _listener.reset(token)


def note_passed(words: str) -> None:
    """Say what has passed, once, to whoever listens."""
    steps = _listener.get()
    if steps is not None and words not in steps.passed:
        steps.passed.append(words)


@dataclass
class Subject:
    """A component under check, by name or class, with its parameters."""

    kind: str
    component: str | type
    params: Mapping[str, Any]
    plugins: Sequence[str] = ()  # single files, as plugins.paths
    seed: int = 0  # of the random weights
    ends: dict[int, dict[str, bytes]] = field(default_factory=dict)  # by seed, the random states after it was built

    def __post_init__(self) -> None:
        name = self.component if isinstance(self.component, str) else self.component.__name__
        self.label = f"{self.kind} {name!r}"
        if isinstance(self.component, str):
            self.registry = Registry.installed(self.plugins)
            self.registry.row(self.kind, self.component)  # an unknown name is the caller's mistake, reported as such

    def fail(self, message: str) -> NoReturn:
        raise ContractError(f"{self.label}: {message}")

    def passed(self, words: str) -> None:
        note_passed(words)

    def left_out(self, words: str) -> None:
        """Say what could not be tried, and why, to whoever listens."""
        if (steps := _listener.get()) is not None:
            steps.left_out.append(words)

    @contextmanager
    def doing(self, what: str, *, refusals: bool = False, chance: bool = False) -> Iterator[None]:
        """Turn any failure inside into a broken contract, and check that what belongs to the whole process is
        afterwards what it was. With ``refusals``, vlframe's own errors pass: a request that it rightly refuses;
        with ``chance`` it may draw global random numbers.
        """
        before, printed = settings(), io.StringIO()
        chances = {} if chance or self.kind not in WITHOUT_CHANCE else random_states()
        try:
            with redirect_stdout(printed) if self.quiet else nullcontext():
                yield
        except WrongDeclaration as error:
            raise ContractError(f"{self.label}: {error}") from error
        except (ContractError, UserError) as error:
            if refusals or isinstance(error, ContractError):
                raise
            self.fail(f"{what} is refused: {error}")
        except Exception as error:
            raise ContractError(f"{self.label}: {what} fails with {named_line(error)}") from error
        if changed := changed_settings(before):
            self.fail(f"{what} changes {', '.join(changed)} of the whole process, and does not put it back")
        now = random_states() if chances else {}
        if moved := [name for name, state in chances.items() if now[name] != state]:
            self.fail(f"{what} draws from or seeds the global random numbers of {' and '.join(moved)}; {CHANCE}")
        if text := printed.getvalue().strip():
            self.fail(f"{what} prints {text[:80]!r}; what commands print is read by programs, so log it instead")

    @property
    def quiet(self) -> bool:
        """Return whether it may not print: callbacks and loggers are there to show something."""
        return self.kind not in ("callback", "logger")

    def build(self, **neighbours: Any) -> Any:
        """Build the component, with the same random weights for the same ``seed``."""
        with seeded(self.seed), self.doing("building it", refusals=True, chance=True):
            if isinstance(self.component, str):
                built = self.registry.build(self.kind, {"name": self.component, **self.params}, **neighbours)
            else:
                built = self.component(**self.params, **neighbours)
            self._check_chance()
        return built

    def _check_chance(self) -> None:
        """Check that two seeds are still two after it was built."""
        self.ends[self.seed] = now = random_states()
        for seed, states in self.ends.items():
            if same := [name for name, state in now.items() if seed != self.seed and states[name] == state]:
                self.fail(
                    f"building it seeds the global random numbers of {' and '.join(same)}: the seed of a run would "
                    "mean nothing; use a generator of its own"
                )

    def plan(self, **neighbours: Any) -> Any:
        """Build the component on the meta device, as the check of a composition does."""
        with meta_build():
            return self.build(**neighbours)

    def check_source(self) -> None:
        """Check that a plan of a pretrained component reads no weights, so that compositions are checked
        without them.
        """
        parameters: Mapping[str, Any] = self.params
        if isinstance(self.component, str):
            parameters = self.registry.row(self.kind, self.component).schema.__annotations__
        if "source" not in parameters:
            return
        try:
            replace(self, params={**self.params, "source": "no/such/weights"}).plan()
        except Exception as error:
            cause = error.__cause__ or error
            self.fail(
                f"a plan with a source that is not here fails with {type(cause).__name__}: {cause}; while "
                "vlframe.is_meta() it must build the architecture that its parameters spell out, and read no weights"
            )

    def width(self, part: Any) -> int:
        """Return the width of its features, which its neighbour is built with."""
        self.attribute(part, "dim", object, "the width of its features")
        with self.doing("dim"):
            return width_of(part)

    def attribute(self, part: Any, name: str, types: type | tuple[type, ...], meaning: str) -> Any:
        """Return an attribute that a neighbour reads, after checking its type."""
        with self.doing(f"reading {name}"):
            if not hasattr(part, name):
                self.fail(f"has no attribute {name!r}, {meaning}")
            value = getattr(part, name)
        if not isinstance(value, types) or (isinstance(value, bool) and types is int):
            self.fail(f"{name} is {value!r}; it must be {meaning}")
        return value

    def pickles(self, value: Any, what: str) -> Any:
        """Check that a value can be pickled, to be sent to data workers; return what arrives there."""
        try:
            return pickle.loads(pickle.dumps(value))
        except Exception as error:
            self.fail(f"{what} cannot be pickled, and data workers need it: {named_line(error)}")
