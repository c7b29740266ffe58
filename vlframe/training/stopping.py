"""Stops a run on purpose: at the end of a step, with a checkpoint, and an exit code that says why.

SIGTERM, SIGINT    the step is finished, a checkpoint is written, loggers are closed; exit code 143, 130
a second one       the process exits at once, with the same code
trainer.max_time   the same, before the time is up; exit code 0, like any completed run

``outcome.json`` of the run says which of them it was (see ``vlframe.training.record``).
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from lightning.pytorch import Callback, Trainer

from vlframe.runs.log import log

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stop:
    """Holds whether, and why, a run should stop. Shared by all its stages."""

    def __init__(self, seconds: float | None = None, step: int | None = None) -> None:
        self.deadline = None if seconds is None else time.monotonic() + seconds
        self.step = step  # of the run; for prove-resume
        self.signal: int | None = None
        self.listening = False  # signals are handled at the end of a step

    def hear(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal: the first requests a stop, the second exits at once."""
        if self.signal is not None:
            os._exit(128 + number)
        self.signal = number
        # No logging here: the signal may arrive in the middle of a line.
        os.write(2, f"{signal.Signals(number).name}: finishing the step; once more to leave at once\n".encode())

    def take_interrupt(self) -> bool:
        """Take a Ctrl-C that others' code turned into KeyboardInterrupt as the signal it was; False if nothing would
        come of it, outside the stages.
        """
        if self.listening and self.signal is None:
            self.hear(signal.SIGINT, None)
        return self.listening

    def wanted(self, step: int) -> bool:
        late = self.deadline is not None and time.monotonic() >= self.deadline
        return self.signal is not None or late or (self.step is not None and step >= self.step)

    @property
    def why(self) -> str:
        """Return the reason why a run stopped early."""
        if self.signal is not None:
            return f"it was stopped by {signal.Signals(self.signal).name}"
        if self.deadline is not None and time.monotonic() >= self.deadline:
            return "trainer.max_time was up"
        return f"it was to stop after step {self.step}"

    @property
    def exit_code(self) -> int:
        return 0 if self.signal is None else 128 + self.signal


class StopAtBoundary(Callback):
    """Ends the training after the optimizer step in which a stop was requested; never inside an accumulation window,
    whose gradients no checkpoint contains.
    """

    def __init__(self, stop: Stop) -> None:
        self.stop = stop

    def on_train_start(self, trainer: Trainer, module: Any) -> None:
        for number in SIGNALS:  # after Lightning has set its own, which would end the step half way
            signal.signal(number, self.stop.hear)

    def on_train_batch_end(self, trainer: Trainer, module: Any, outputs: Any, batch: Any, batch_index: int) -> None:
        if (batch_index + 1) % trainer.accumulate_grad_batches:
            return
        wanted = self.stop.wanted(module.first_step + trainer.global_step)
        if trainer.world_size > 1:  # all ranks or none
            wanted = trainer.strategy.reduce_boolean_decision(wanted, all=False)
        if wanted and trainer.global_step < module.steps:
            log.info("stopping after step %d of stage %s", trainer.global_step, module.name)
            trainer.should_stop = True


@contextmanager
def listening(stop: Stop) -> Iterator[None]:
    """Handle signals between stages, too."""
    before = {number: signal.signal(number, stop.hear) for number in SIGNALS}
    stop.listening = True
    try:
        yield
    finally:
        stop.listening = False
        for number, handler in before.items():
            signal.signal(number, handler)
