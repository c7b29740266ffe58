"""Processes that work through a list of jobs. A process that dies loses only its own job."""

from __future__ import annotations

import multiprocessing
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
PATIENCE = 5.0  # seconds, for a worker that was asked to end


@dataclass(frozen=True)
class Died:
    """Replaces a result: the process that had the job ended. ``exit_code`` is minus the signal that killed it."""

    exit_code: int | None

    def __str__(self) -> str:
        if self.exit_code is not None and self.exit_code < 0:
            return f"the process that read it was killed by {signal.Signals(-self.exit_code).name}"
        return f"the process that read it ended with exit code {self.exit_code}"


@dataclass(frozen=True)
class Raised:
    """An exception from a job: a message for the user, or a bug with its traceback."""

    error: UserError | None
    trace: str


class Workers:
    """Runs ``count`` processes for one task, started as needed; 0: in this process.

    If left by an exception (Ctrl-C), it ends them at once.
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
        """Yield each job with its result, as they finish; ``Died`` if a worker did not survive its job."""
        if self.count == 0:
            yield from ((job, self.task(job)) for job in jobs)
            return
        waiting = iter(jobs)
        busy: dict[Connection, J] = {}
        more = True
        while more or busy:
            while more and len(busy) < self.count:
                job = next(waiting, None)
                more = job is not None
                if job is not None:
                    connection = self._idle.pop() if self._idle else self._start()
                    connection.send(job)
                    busy[connection] = job
            for ready in wait(list(busy)) if busy else []:
                assert isinstance(ready, Connection)
                yield busy.pop(ready), self._outcome(ready)

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
        theirs.close()  # so that the worker's death is noticed
        self._processes[ours] = process
        return ours


def _work(task: Callable[[Any], Any], connection: Connection) -> None:
    """Run jobs until the other end is closed. Ctrl-C is handled by the parent, which then ends its workers."""
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
