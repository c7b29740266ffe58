"""A plugin with a callback that fails in the hook of its parameter, for tests."""

from dataclasses import dataclass
from typing import Any

from lightning.pytorch import Callback

import vlframe


@dataclass
class FailingParams:
    hook: str = "on_train_batch_end"
    error: str = "ZeroDivisionError"


class Failing(Callback):
    def __init__(self, *, hook: str, error: str) -> None:
        self.hook, self.error = hook, {"ZeroDivisionError": ZeroDivisionError, "MemoryError": MemoryError}[error]

    def _fail(self, hook: str) -> None:
        if hook == self.hook:
            raise self.error("one by none")

    def setup(self, trainer: Any, module: Any, stage: str) -> None:
        self._fail("setup")

    def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
        if trainer.global_step == 3:
            self._fail("on_train_batch_end")

    def on_train_end(self, trainer: Any, module: Any) -> None:
        self._fail("on_train_end")

    def state_dict(self) -> dict[str, Any]:
        self._fail("state_dict")
        return {}


@vlframe.hookimpl
def vlframe_components():
    yield vlframe.Component("callback", "failing", "failing_callback:Failing", FailingParams, "fails")
