"""A plugin with loggers that fail in every way, for tests."""

from dataclasses import dataclass
from typing import Any

from lightning.pytorch import Callback
from lightning.pytorch.loggers.logger import Logger

import vlframe


class Mute(Exception):
    """Cannot even say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


class BadEnd(BaseException):
    """As a library in another language raises it."""


RAISED = {
    "error": lambda: ValueError("no such\nservice"),
    "mute": Mute,
    "exit": lambda: SystemExit(7),
    "panic": lambda: BadEnd("panicked"),
    "interrupt": KeyboardInterrupt,
}


@dataclass
class FailingParams:
    at: str = "init"
    what: str = "error"
    skip: int = 0  # calls there that go well first
    times: int = 10**6


class Failing(Logger):
    """Fails at one of its methods or attributes."""

    def __init__(self, *, at: str, what: str, skip: int, times: int) -> None:
        super().__init__()
        self.at, self.what, self.calls, self.failing = at, what, 0, range(skip, skip + times)
        self._fail("init")

    def _fail(self, place: str) -> None:
        if place == self.at:
            self.calls += 1
            if self.calls - 1 in self.failing:
                raise RAISED[self.what]()

    @property
    def name(self) -> str:
        self._fail("name")
        return "failing"

    @property
    def version(self) -> int:
        return 0

    @property
    def experiment(self) -> object:
        self._fail("experiment")
        return self

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        self._fail("failed_step" if "run/failed_step" in metrics else "log_metrics")

    def log_hyperparams(self, params: Any, *_: Any) -> None:
        self._fail("log_hyperparams")

    def finalize(self, status: str) -> None:
        self._fail("finalize")


class Failed(Callback):
    """Cannot be built."""

    def __init__(self, *, at: str, what: str, skip: int, times: int) -> None:
        raise RAISED[what]()


class Curious(Callback):
    """Looks at what every logger is."""

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        for logger in trainer.loggers:
            assert logger.experiment is None or logger.name != "metrics"


@vlframe.hookimpl
def vlframe_components():
    yield vlframe.Component("logger", "failing", "failing_loggers:Failing", FailingParams, "fails")
    yield vlframe.Component("callback", "failed", "failing_loggers:Failed", FailingParams, "fails")
    yield vlframe.Component("callback", "curious", "failing_loggers:Curious", None, "looks")
