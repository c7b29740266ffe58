"""Processes started from outside: by torchrun, or by srun of Slurm.

Each has the run's command line. The first creates the run as a single process would, and sends the others its folder,
whose resolved config is all they need; the folder must be readable on all nodes. Without torchrun and srun the first
process starts the others of its node itself (``vlframe.distributed.ranks``).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch.plugins.environments import ClusterEnvironment, SLURMEnvironment
from torch.distributed import DistError
from torch.distributed.rendezvous import rendezvous

from vlframe.distributed.environment import launcher
from vlframe.distributed.ranks import devices_of_node
from vlframe.errors import ConfigError, TrainingError

if TYPE_CHECKING:
    from vlframe.config.schema import TrainerConfig

FOLDER = "vlframe/run_folder"
READERS = "vlframe/readers"
NONE = "-"  # instead of a folder: the run failed
SECONDS_TO_READ = 60.0
_joined: list[Any] = []  # keeps this process's stores alive


class Started(ClusterEnvironment):
    """This process's place among those started, in the form that Lightning expects of a cluster."""

    def __init__(
        self, by: str, *, rank: int, world: int, local_rank: int, local_world: int, node: int, address: str, port: int
    ) -> None:
        super().__init__()
        self.by = by
        self.rank = rank
        self.world = world
        self.local = local_rank
        self.local_world = local_world
        self.node = node
        self.address = address
        self.port = port

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_address(self) -> str:
        return self.address

    @property
    def main_port(self) -> int:
        return self.port

    @staticmethod
    def detect() -> bool:
        return started() is not None

    def world_size(self) -> int:
        return self.world

    def set_world_size(self, size: int) -> None:
        """Ignore the value: Lightning only repeats what it read here."""

    def global_rank(self) -> int:
        return self.rank

    def set_global_rank(self, rank: int) -> None:
        """Ignore the value: Lightning only repeats what it read here."""

    def local_rank(self) -> int:
        return self.local

    def node_rank(self) -> int:
        return self.node


def started(environment: Mapping[str, str] | None = None) -> Started | None:
    """Return how this process was started, by its environment; None for a single process."""
    variables = os.environ if environment is None else environment
    reading = {"torchrun": _by_torchrun, "srun": _by_srun}.get(launcher(variables))
    found = None if reading is None else reading(variables)
    return found if found is not None and found.world > 1 else None


def _by_torchrun(variables: Mapping[str, str]) -> Started:
    return Started(
        "torchrun",
        rank=int(variables["RANK"]),
        world=int(variables["WORLD_SIZE"]),
        local_rank=int(variables["LOCAL_RANK"]),
        local_world=int(variables["LOCAL_WORLD_SIZE"]),
        node=int(variables["GROUP_RANK"]),
        address=variables["MASTER_ADDR"],
        port=int(variables["MASTER_PORT"]),
    )


def _by_srun(variables: Mapping[str, str]) -> Started:
    """Use MASTER_ADDR and MASTER_PORT, or the step's first node and a port derived from the job."""
    nodes = variables.get("SLURM_STEP_NODELIST", variables.get("SLURM_NODELIST", "127.0.0.1"))
    world = int(variables["SLURM_STEP_NUM_TASKS"])
    job = int(variables.get("SLURM_JOB_ID", "0"))
    return Started(
        "srun",
        rank=int(variables["SLURM_PROCID"]),
        world=world,
        local_rank=int(variables["SLURM_LOCALID"]),
        local_world=world // int(variables.get("SLURM_STEP_NUM_NODES", "1")),
        node=int(variables["SLURM_NODEID"]),
        address=variables.get("MASTER_ADDR") or SLURMEnvironment.resolve_root_node_address(nodes),
        port=int(variables.get("MASTER_PORT") or 15000 + job % 10000),
    )


def check_launch(settings: TrainerConfig, mine: Started | None) -> None:
    """Raise ConfigError if other processes were started than the config asks for."""
    devices = devices_of_node(settings)
    if mine is not None and (devices * settings.num_nodes != mine.world or devices != mine.local_world):
        nodes = mine.world // mine.local_world
        raise ConfigError(
            f"{mine.by} started {mine.world} processes, {mine.local_world} on this node, and the run is for "
            f"trainer.devices={settings.devices} on each of trainer.num_nodes={settings.num_nodes}; say "
            f"trainer.devices={mine.local_world} trainer.num_nodes={nodes}"
        )
    if mine is None and settings.num_nodes > 1:
        raise ConfigError(
            f"trainer.num_nodes is {settings.num_nodes}, and this is a single process; start it on each node with "
            f"torchrun --nnodes={settings.num_nodes} --nproc-per-node={devices} --node-rank=<0, 1, …> "
            f"--master-addr=<first node> --master-port=29500 -m vlframe train …, or by srun"
        )
    if mine is None and devices > 1 and "LOCAL_RANK" in os.environ:
        raise ConfigError(
            f"this process was started as one of several (LOCAL_RANK is {os.environ['LOCAL_RANK']}), and neither by "
            f"torchrun nor by srun; start one, with trainer.devices={devices}, and it starts the others"
        )


@contextmanager
def telling(mine: Started | None) -> Iterator[Callable[[Path], None]]:
    """Yield a function by which the first process, having created the run inside the context, sends its folder to the
    others. They end if it leaves with an error, which it reports itself.
    """
    if mine is None:
        yield lambda folder: None
        return
    store = _join(mine)
    told = False

    def tell(folder: Path) -> None:
        nonlocal told
        store.set(FOLDER, str(folder.resolve()))
        told = True

    try:
        yield tell
    finally:
        if not told:
            store.set(FOLDER, NONE)
            _wait_for_readers(store, mine.world - 1)


def _wait_for_readers(store: Any, others: int) -> None:
    """Give the other processes some seconds to read the store, which ends with this process."""
    until = time.monotonic() + SECONDS_TO_READ
    while store.add(READERS, 0) < others and time.monotonic() < until:
        time.sleep(0.1)


def told_folder(mine: Started) -> str:
    """Return the run's folder once the first process has created it. SystemExit if it never does."""
    try:
        store = _join(mine)
        folder = store.get(FOLDER)
        store.add(READERS, 1)
    except DistError as error:
        raise TrainingError(
            f"the first process of this run ended, or could not be reached at {mine.address}:{mine.port}, before it "
            f"had sent the run's folder ({error})"
        ) from error
    if folder == NONE.encode():
        raise SystemExit(0)  # with another code torchrun would kill the first process before it has reported
    return folder.decode()


def _join(mine: Started) -> Any:
    if _joined:
        raise ConfigError(
            f"these processes were started by {mine.by} for one run, and -m asks for several; start each by itself"
        )
    os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = mine.address, str(mine.port)
    store, _, _ = next(rendezvous("env://", mine.rank, mine.world))
    _joined.append(store)
    return torch.distributed.PrefixStore("vlframe", store)
