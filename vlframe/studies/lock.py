"""One process at a time: a lock that a killed process leaves open, and a note of who holds it.

The lock is the system's (POSIX ``fcntl``): it goes when its process does, however that ends, and holds between machines
on shared file systems that have locks (NFS, CephFS, Lustre with ``flock``). The note is for people, and for messages.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from vlframe.errors import ConfigError
from vlframe.runs.folder import write_text

HELD = (errno.EACCES, errno.EAGAIN)


@dataclass(frozen=True)
class Holder:
    """The process that has a lock, or had it last."""

    pid: int
    host: str
    since: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since}"


class Held(Exception):
    """Another process has the lock."""

    def __init__(self, holder: Holder | None) -> None:
        super().__init__(str(holder or "another process"))
        self.holder = holder


@contextmanager
def locked(folder: Path) -> Iterator[Holder | None]:
    """Hold the lock of a folder, which is made. Gives the holder before, if that one died with it; raises ``Held``."""
    folder.mkdir(parents=True, exist_ok=True)
    note = folder / "holder.json"
    # Nobody else opens this file: closing it anywhere in this process would give the lock away.
    with open(folder / "lock", "a", encoding="utf-8") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in HELD:
                raise Held(holder_of(folder)) from error
            raise ConfigError(
                f"{folder} is on a file system without locks ({error.strerror}); put the study's folder on one that "
                f"has them (folder: in the study's file)"
            ) from error
        dead = holder_of(folder)
        write_text(note, json.dumps(asdict(Holder(os.getpid(), socket.gethostname(), f"{datetime.now():%F %T}"))))
        try:
            yield dead
        finally:
            note.unlink(missing_ok=True)


def holder_of(folder: Path) -> Holder | None:
    """Read the note. None: there is none, or it was torn as its writer died."""
    try:
        return Holder(**json.loads((folder / "holder.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
