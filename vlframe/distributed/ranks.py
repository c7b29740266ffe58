"""Several processes (ranks) for one run.

Lightning starts the other ranks by running the first one's command line again. That line may have been a job of a
multirun, and would create a run folder per rank; so the others get the folder of the first, whose resolved config is
all they need: ``python -m vlframe _rank <folder>``.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from vlframe.errors import TrainingError, UserError
from vlframe.machine.devices import process_count
from vlframe.runs.folder import RunFolder

if TYPE_CHECKING:
    from vlframe.config.schema import TrainerConfig

T = TypeVar("T")
# Environment variables that Lightning and ``_hand_over`` set in a process.
MARKS = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "PYTHONSAFEPATH", "OMP_NUM_THREADS")
STARTED_BY = os.getppid()
SECONDS_TO_END = 10.0
_CPU_GROUP: Any = None  # connects the CPUs of the ranks, if the devices use NCCL
_IMAGINED: ContextVar[int | None] = ContextVar("vlframe_ranks", default=None)


@contextmanager
def imagined(ranks: int) -> Iterator[None]:
    """Let this process stand for each of so many ranks, all of which have what it has: a pass on the meta device then
    costs what it costs each of them, and talks to none.
    """
    token = _IMAGINED.set(ranks)
    try:
        yield
    finally:
        _IMAGINED.reset(token)


def are_imagined() -> bool:
    return _IMAGINED.get() is not None


def this_rank() -> int:
    """Return the rank, by the environment variables of torchrun, Lightning or Slurm."""
    return int(next((os.environ[name] for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID") if name in os.environ), "0"))


def place() -> tuple[int, int]:
    """Return this process's rank and the number of ranks: 0 and 1 for a single process."""
    stands_for = _IMAGINED.get()
    if stands_for is not None:
        return 0, stands_for
    ranks = torch.distributed
    if not (ranks.is_available() and ranks.is_initialized()):
        return 0, 1
    return ranks.get_rank(), ranks.get_world_size()


def world_size(settings: TrainerConfig) -> int:
    """Return the number of processes of a run, over all nodes."""
    return devices_of_node(settings) * settings.num_nodes


def devices_of_node(settings: TrainerConfig) -> int:
    """Return the number of processes on each node: as configured, or one per GPU."""
    return process_count(settings.devices, settings.accelerator)


def of_all_ranks(value: T) -> list[T]:
    """Return this value of every rank, by rank. All ranks call this."""
    _, world = place()
    if world == 1 or are_imagined():
        return [value] * world
    values: list[Any] = [None] * world
    torch.distributed.all_gather_object(values, value)
    return values


def summed_over_ranks(values: Sequence[int]) -> list[int]:
    """Return the sums of these counts over all ranks, computed on the CPU so that no device waits. All ranks
    call this.
    """
    global _CPU_GROUP
    _, world = place()
    if world == 1:
        return list(values)
    if _CPU_GROUP is None and torch.distributed.get_backend() != "gloo":
        _CPU_GROUP = torch.distributed.new_group(backend="gloo")
    counts = torch.tensor(list(values), dtype=torch.int64)
    torch.distributed.all_reduce(counts, group=_CPU_GROUP)
    return counts.tolist()


@contextmanager
def own_group(folder: RunFolder | None = None) -> Iterator[None]:
    """Undo what Lightning leaves in this process when it has started others, so that the next job of a multirun starts
    clean. A rank that loses the others reports it. ``folder`` is given by the first of several ranks.
    """
    global _CPU_GROUP
    main = sys.modules["__main__"]
    before = {name: os.environ.get(name) for name in MARKS}
    argv, spec = sys.argv, main.__spec__
    # Otherwise Lightning sets the threads of each process by the cores it sees.
    os.environ.setdefault("OMP_NUM_THREADS", str(torch.get_num_threads()))
    if folder is not None:
        _hand_over(folder)
    try:
        yield
    except UserError as error:
        _leave_the_first_to_end(error)
        raise
    except RuntimeError as error:
        if not _is_of_the_group(error):
            raise
        lost = TrainingError(
            f"rank {this_rank()} of this run lost another one, which ended early; its own message says why. "
            f"Once the cause is fixed, continue with resume={folder.path if folder else '<run folder>'} ({error})"
        )
        _leave_the_first_to_end(lost)
        raise lost from error
    finally:
        _CPU_GROUP = None
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        sys.argv, main.__spec__ = argv, spec
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _hand_over(folder: RunFolder) -> None:
    """Set the command that Lightning will run for the other ranks: it runs the main module again by name if it has one,
    otherwise the script by its path, which would put the script's folder first on the import path.
    """
    sys.modules["__main__"].__spec__ = find_spec("vlframe.__main__")
    sys.argv = ["vlframe", "_rank", str(folder.path.resolve())]
    if sys.path[:1] not in (
        [""],
        [os.getcwd()],
    ):  # the first rank does not import from here, so the others must not either
        os.environ["PYTHONSAFEPATH"] = "1"


def _leave_the_first_to_end(error: UserError) -> None:
    """Let the first rank end by itself when this one fails.

    Lightning kills the first rank soon after this one exits with a code other than 0, perhaps before it has reported
    its error. With gloo there is no problem: the first rank has the same error, or sees the lost connection. With NCCL
    it does not, so it gets some seconds to end by itself and is then killed.
    """
    if place()[0] == 0:
        return
    if torch.distributed.get_backend() == "gloo":
        error.exit_code = 0
        return
    until = time.monotonic() + SECONDS_TO_END
    while os.getppid() == STARTED_BY and time.monotonic() < until:
        time.sleep(0.1)


def _is_of_the_group(error: RuntimeError) -> bool:
    """Return whether the process group raised the error: NCCL's errors have a type, gloo's are recognised by
    their text.
    """
    return isinstance(error, torch.distributed.DistError) or "gloo" in str(error)
