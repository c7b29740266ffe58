"""Counts the CPUs a process can use: those of the machine, those it may run on, and its container's share.

Schedulers assign CPUs in two ways: a process may run only on some of them (affinity), or on all of them for a share of
the time (a quota of Linux control groups, version 1 or 2). torch starts a thread for each core that it sees; with a
quota these threads wait for each other.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath


@dataclass(frozen=True)
class Cpus:
    """The CPUs of a process. ``cores`` of the machine, ``allowed`` by its affinity, ``quota`` of its control group: CPU
    seconds per second, None for no limit.
    """

    cores: int
    allowed: int
    quota: float | None

    @property
    def usable(self) -> int:
        """Return the number of threads that can run all the time."""
        return self.allowed if self.quota is None else max(1, min(self.allowed, math.floor(self.quota)))


def cpus(root: Path = Path("/")) -> Cpus:
    """Return the CPUs of this process. ``root`` contains ``proc`` and ``sys``."""
    cores = os.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores
    return Cpus(cores, allowed, quota(root))


def quota(root: Path = Path("/")) -> float | None:
    """Return the smallest quota of this process's control group and its parents; None if there is none."""
    found = [*_quotas_of_version_2(root), *_quotas_of_version_1(root)]
    return min(found, default=None)


def _quotas_of_version_2(root: Path) -> Iterator[float]:
    for group in _groups(root, ""):
        with suppress(OSError, ValueError):  # missing, or "max"
            limit, period = (root / "sys/fs/cgroup" / group / "cpu.max").read_text(encoding="utf-8").split()
            yield int(limit) / int(period)


def _quotas_of_version_1(root: Path) -> Iterator[float]:
    for mount in ("cpu", "cpu,cpuacct"):
        for group in _groups(root, "cpu"):
            folder = root / "sys/fs/cgroup" / mount / group
            with suppress(OSError, ValueError):
                limit, period = (
                    int((folder / f"cpu.cfs_{name}_us").read_text(encoding="utf-8")) for name in ("quota", "period")
                )
                if limit > 0:  # -1: no limit
                    yield limit / period


def _groups(root: Path, controller: str) -> list[str]:
    """Return the control group of this process and its parents, as paths below the mount. A container may see its own
    group as the mount itself, whatever its path outside.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return [""]
    paths = [path for _, names, path in (line.split(":", 2) for line in lines) if controller in names.split(",")]
    return [str(folder).lstrip("/") for path in paths for folder in (PurePosixPath(path), *PurePosixPath(path).parents)]


def thread_count(
    asked: int | None, processes: int, found: Cpus, default: int, environment: Mapping[str, str] = os.environ
) -> int:
    """Return the number of torch threads for each of ``processes`` on this machine: ``asked``, OMP_NUM_THREADS (which
    torch follows), or torch's ``default`` limited to the threads that can run.
    """
    if asked is not None:
        return asked
    if environment.get("OMP_NUM_THREADS"):
        return default
    return max(1, min(default, found.usable // processes))


@cache
def default_threads() -> int:
    """Return torch's own choice, read before it is changed."""
    import torch

    return torch.get_num_threads()


def set_threads(asked: int | None, processes: int = 1) -> None:
    """Set torch's threads in this one of ``processes`` on this machine."""
    default = default_threads()
    import torch

    torch.set_num_threads(thread_count(asked, processes, cpus(), default))


def threads_told(asked: int | None, processes: int = 1) -> str:
    """Return a note about the threads; "" if torch or the user chose them."""
    found, default = cpus(), default_threads()
    count = thread_count(asked, processes, found, default)
    if asked is not None or count >= default:
        return ""
    among = f", shared by {processes} processes" if processes > 1 else ""
    return f"threads: {count} in place of torch's {default}; this process can use {in_words(found)}{among}"


def in_words(found: Cpus) -> str:
    """Describe the CPUs, like ``2 CPUs (a quota of 2 on 64 cores)``."""
    limits = []
    if found.quota is not None and found.quota < found.allowed:
        limits.append(f"a quota of {found.quota:g}")
    if found.allowed < found.cores:
        limits.append(f"{found.allowed} allowed")
    told = f" ({' and '.join(limits)} on {found.cores} cores)" if limits else ""
    return f"{found.usable} CPU{'s' if found.usable > 1 else ''}{told}"
