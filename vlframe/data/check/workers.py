"""Processes that work off a list of jobs. One that dies takes its job with it, and no other."""

from __future__ import annotations

import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, TypeVar

from vlframe.errors import UserError

J = TypeVar("J")
PATIENCE = 5.0  # seconds, for a worker that is told to end


@dataclass(frozen=True)
class Died:
    """In place of a result: the process that had the job ended. ``exit_code`` is minus the signal that killed it."""

    exit_code: int | None

    def __str__(self) -> str:
        if self.exit_code is not None and self.exit_code < 0:
            return f"the process that read it was killed by {signal.Signals(-self.exit_code).name}"
        return f"the process that read it ended with exit code {self.exit_code}"


@dataclass(frozen=True)
class Raised:
    """What a job raised: a message for the user, or a bug with its traceback."""

    error: UserError | None
    trace: str


def cpu_count() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Workers:
    """``count`` processes for one task, started as they are needed; 0: this process does the work itself.

    Left by an exception (Ctrl-C), it ends them at once.
    """

    def __init__(self, task: Callable[[Any], Any], count: int) -> None:
        self.task = task
        self.count = count
        self._processes: dict[Connection, BaseProcess] = {}
        self._idle: list[Connection] = []

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection, process in self._processes.items():
            process.terminate()
            process.join(PATIENCE)
            if process.is_alive():
                process.kill()
                process.join()
            connection.close()
        self._processes.clear()
        self._idle.clear()

    def run(self, jobs: Iterable[J]) -> Iterator[tuple[J, Any]]:
        """Each job with what came of it, as they are done; ``Died`` where a worker did not survive its job."""
        if self.count == 0:
            yield from ((job, self.task(job)) for job in jobs)
            return
        waiting, busy = iter(jobs), {}
        more = True
        while more or busy:
            while more and len(busy) < self.count:
                job = next(waiting, None)
                more = job is not None
                if job is not None:
                    connection = self._idle.pop() if self._idle else self._start()
                    connection.send(job)
                    busy[connection] = job
            for connection in wait(list(busy)) if busy else []:
                assert isinstance(connection, Connection)
                yield busy.pop(connection), self._outcome(connection)

    def _outcome(self, connection: Connection) -> Any:
        try:
            outcome = connection.recv()
        except (EOFError, ConnectionResetError):
            process = self._processes.pop(connection)
            process.join()
            connection.close()
            return Died(process.exitcode)
        if isinstance(outcome, Raised):
            raise outcome.error or RuntimeError(f"a worker failed:\n{outcome.trace}")
        self._idle.append(connection)
        return outcome

    def _start(self) -> Connection:
        ours, theirs = multiprocessing.Pipe()
        process = multiprocessing.Process(target=_work, args=(self.task, theirs))
        process.start()
        theirs.close()  # so that its end is seen when it dies
        self._processes[ours] = process
        return ours


def _work(task: Callable[[Any], Any], connection: Connection) -> None:
    """Jobs until the other end is closed. Ctrl-C is for the parent, which then ends its workers."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    try:
        while True:
            job = connection.recv()
            try:
                outcome = task(job)
            except UserError as error:
                outcome = Raised(error, "")
            except Exception:
                outcome = Raised(None, traceback.format_exc())
            connection.send(outcome)
    except (EOFError, BrokenPipeError, ConnectionResetError):  # the parent is gone
        return
