"""Several processes for one run.

Lightning starts the other ranks by running the first one's command line again. That line may have been a job of a
multirun, and would make each rank a run folder of its own; so the others are sent to the folder of the first, whose
resolved config is all they need: ``python -m vlframe _rank <folder>``.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, TypeVar

import torch

from vlframe.errors import ConfigError, TrainingError, UserError
from vlframe.runs.folder import RunFolder

T = TypeVar("T")
# What Lightning, and handing over, leave on a process.
MARKS = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "PYTHONSAFEPATH")
STARTED_BY = os.getppid()
SECONDS_TO_END = 10.0


def this_rank() -> int:
    return int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")))


def place() -> tuple[int, int]:
    """This process's rank, and how many there are: 0 and 1 for a process on its own."""
    ranks = torch.distributed
    if not (ranks.is_available() and ranks.is_initialized()):
        return 0, 1
    return ranks.get_rank(), ranks.get_world_size()


def of_all_ranks(value: T) -> list[T]:
    """This value of every rank, by rank. All of them call it."""
    _, world = place()
    if world == 1:
        return [value]
    values: list[Any] = [None] * world
    torch.distributed.all_gather_object(values, value)
    return values


@contextmanager
def own_group(folder: RunFolder | None = None) -> Iterator[None]:
    """What Lightning leaves in this process when it started others, taken back: the next job of a multirun begins as
    the first did. A rank that finds the others gone says so. ``folder`` is given by the first of several."""
    main = sys.modules["__main__"]
    before = {name: os.environ.get(name) for name in MARKS}
    argv, spec = sys.argv, main.__spec__
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
            f"rank {this_rank()} of this run lost another one, which ended before its time; its own message says why. "
            f"The last checkpoint stays: go on with resume=<run folder> when the cause is gone ({error})"
        )
        _leave_the_first_to_end(lost)
        raise lost from error
    finally:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        sys.argv, main.__spec__ = argv, spec
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _hand_over(folder: RunFolder) -> None:
    """What the other ranks are to do, said where Lightning looks for it: it runs the main module again where that has a
    name, and a script by its path otherwise, which would make the script's folder the first to import from."""
    sys.modules["__main__"].__spec__ = find_spec("vlframe.__main__")
    sys.argv = ["vlframe", "_rank", str(folder.path.resolve())]
    if sys.path[:1] not in ([""], [os.getcwd()]):  # the first does not import from here, so they do not either
        os.environ["PYTHONSAFEPATH"] = "1"


def _leave_the_first_to_end(error: UserError) -> None:
    """For another rank. Lightning kills the first, which may have much to say, soon after this one has ended with
    anything but 0. With gloo there is no need: the first has the same error, or hears that a connection is gone. With
    NCCL it does not hear, so it has some seconds to end by itself and is then killed."""
    if place()[0] == 0:
        return
    if torch.distributed.get_backend() == "gloo":
        error.exit_code = 0
        return
    until = time.monotonic() + SECONDS_TO_END
    while os.getppid() == STARTED_BY and time.monotonic() < until:
        time.sleep(0.1)


def _is_of_the_group(error: RuntimeError) -> bool:
    """NCCL's errors have a type; gloo's have its name in their text."""
    return isinstance(error, torch.distributed.DistError) or "gloo" in str(error)


def refuse_strangers(devices: int) -> None:
    """Ranks that somebody else started would each compose a run of their own."""
    if devices > 1 and "LOCAL_RANK" in os.environ:
        raise ConfigError(
            f"this process was started as rank {this_rank()} of several (LOCAL_RANK is set); start one process, with "
            f"trainer.devices={devices}, and it starts the others"
        )
