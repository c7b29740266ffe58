"""Records how a run ends, in any way: in its folder, and to its loggers."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from vlframe.distributed.ranks import this_rank
from vlframe.errors import OutputError, UserError
from vlframe.runs.checkpoint import saved_steps
from vlframe.runs.folder import RunFolder
from vlframe.runs.outcome import Outcome, State, sentence
from vlframe.runs.unlogged import Unlogged
from vlframe.training.failures import NonFinite

if TYPE_CHECKING:
    from vlframe.training.loggers import RunLoggers
    from vlframe.training.stopping import Stop


class Progress(Protocol):
    """A run's progress, in optimizer steps over all its stages."""

    @property
    def steps_done(self) -> int: ...
    @property
    def steps_asked(self) -> int: ...
    @property
    def step_at_work(self) -> int: ...  # the step that is being computed, or the last one
    @property
    def first_step(self) -> int: ...  # steps of the stages before the current one


class Record:
    """Holds the loggers to notify and the run's progress; both are filled in once they exist."""

    def __init__(self, folder: RunFolder, stop: Stop, unlogged: Unlogged) -> None:
        self.folder = folder
        self.stop = stop
        self.unlogged = unlogged
        self.loggers: RunLoggers | None = None
        self.run: Progress | None = None
        self.remark = ""  # a note about a finished run
        self.stopped: str | None = None  # why it ended early without an error

    def write(self, state: State, why: str = "", exit_code: int | None = None) -> Outcome:
        """Put the state into the folder."""
        done, asked = (self.run.steps_done, self.run.steps_asked) if self.run else (0, 0)
        if state == "running":
            done = saved_steps(self.folder)
        if missing := self.unlogged.summary:
            why = f"{why}; {missing}" if why else missing
            exit_code = OutputError.exit_code if exit_code == 0 else exit_code
        outcome = Outcome(state, why, done, asked, exit_code)
        if this_rank() == 0:
            with self.unlogged.kept(self.folder.outcome.name):
                outcome.write(self.folder)
        return outcome

    def end(self, state: State, why: str, exit_code: int) -> None:
        """Put the outcome into the folder, then tell the loggers; and once more if one of them failed at that."""
        outcome, before = self.write(state, why, exit_code), self.unlogged.summary
        try:
            if self.loggers is not None:
                self.loggers.close(outcome)
        except KeyboardInterrupt:
            told = "Ctrl-C came while its loggers were closed"
            self.write(state, f"{why}; {told}" if why else told, 128 + signal.SIGINT)
            raise
        if self.unlogged.summary != before:
            self.write(state, why, exit_code)

    def failed(self, error: BaseException) -> None:
        """Record the error, and log the failed step as the last of the history."""
        code = error.exit_code if isinstance(error, UserError) else 1
        self.write("failed", sentence(error), code)  # first, as Ctrl-C may come in a logger
        if self.loggers is not None and self.run is not None:
            step, values = self.run.step_at_work, {}
            if isinstance(cause := error.__cause__, NonFinite):  # on a device it is noticed a step later
                step, values = self.run.first_step + cause.batch["step"], {"train/loss": cause.loss}
            self.loggers.log_at_end({"run/failed_step": step, **values}, step)
        self.end("failed", sentence(error), code)


@contextmanager
def recorded(folder: RunFolder, stop: Stop, unlogged: Unlogged) -> Iterator[Record]:
    """Record the run as ``running`` inside, and afterwards how it ended."""
    record = Record(folder, stop, unlogged)
    record.write("running")
    try:
        yield record
    except KeyboardInterrupt:  # outside the stages, which handle signals themselves
        record.end("stopped", "it was stopped by SIGINT", 128 + signal.SIGINT)
        raise
    except BaseException as error:
        record.failed(error)
        raise
    if record.stopped is None:
        record.end("done", record.remark, exit_code=0)
    else:
        record.end("stopped", record.stopped, stop.exit_code)


def record_saved(folder: RunFolder) -> None:
    """Record how far a running run has been saved, which is what it goes on from if it is killed."""
    outcome = Outcome.read(folder)
    if outcome is not None and outcome.state == "running":
        replace(outcome, steps_done=saved_steps(folder)).write(folder)
