"""Main memory: how much a process may still use, and a check of large needs before loading."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

from vlframe.errors import ConfigError

PROC, GROUPS = Path("/proc"), Path("/sys/fs/cgroup")


def gigabytes(number: float) -> str:
    """Return bytes in words, in powers of ten: 10^9 bytes are a GB."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= size:
            return f"{number / size:.0f} {unit}" if number >= 100 * size else f"{number / size:.1f} {unit}"
    return f"{number:.0f} B"


def free_main_memory(proc: Path = PROC, groups: Path = GROUPS) -> int:
    """Return the bytes that this process may still use: the least of the machine's available memory, what its control
    groups leave (a container, a cluster job), and what its own limit leaves (``ulimit -v``).
    """
    return min([_available(proc), *_left_by_groups(proc, groups), *_left_by_limit(proc)])


def check_main_memory(need: int, what: str, advice: str) -> None:
    """Raise ConfigError if ``need`` bytes are more than are free."""
    free = free_main_memory()
    if need > free:
        raise ConfigError(
            f"{what} {gigabytes(need)} of main memory, and {gigabytes(free)} are free for this process; {advice}"
        )


def _available(proc: Path) -> int:
    try:
        lines = (proc / "meminfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    fields = dict(line.split(":") for line in lines)
    swap = fields.get("SwapFree", "0 kB")
    return sum(int(text.split()[0]) * 1024 for text in (fields["MemAvailable"], swap))


def _left_by_groups(proc: Path, groups: Path) -> Iterator[int]:
    """Yield what each control group of this process leaves, including parent groups (versions 1 and 2)."""
    try:
        memberships = [
            line.split(":", 2) for line in (proc / "self" / "cgroup").read_text(encoding="utf-8").splitlines()
        ]
    except OSError:
        return
    for _, controllers, path in memberships:
        if controllers == "":
            top, limit, used, cache = groups, "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            top, limit, used, cache = (
                groups / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file",
            )  # fmt: skip
        else:
            continue
        here = top / path.strip("/")
        for folder in (here, *(above for above in here.parents if above.is_relative_to(top))):
            yield from _left_by_group(folder, limit, used, cache)


def _left_by_group(folder: Path, limit: str, used: str, cache: str) -> Iterator[int]:
    try:
        most, now = ((folder / name).read_text(encoding="utf-8").strip() for name in (limit, used))
        stat = dict(line.split() for line in (folder / "memory.stat").read_text(encoding="utf-8").splitlines())
    except OSError:  # a group above the container is not visible from inside
        return
    if most != "max":
        yield max(0, int(most) - int(now) + int(stat.get(cache, 0)))  # the page cache can be reclaimed


def _left_by_limit(proc: Path) -> Iterator[int]:
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        pages = (proc / "self" / "statm").read_text(encoding="utf-8").split()[0]
        yield max(0, limit - int(pages) * os.sysconf("SC_PAGE_SIZE"))
