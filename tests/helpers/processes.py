"""The command in a real process of its own: forked from one that has torch already, or started anew.

Importing torch and Lightning takes longer than most of the runs tested here, so it is done once; so is the first
composition. (``tests.helpers.warm`` is found if the first command starts in the repository; elsewhere nothing is warm.)
"""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from multiprocessing.connection import Connection
from pathlib import Path

WARM = multiprocessing.get_context("forkserver")
WARM.set_forkserver_preload(
    ["vlframe.composer.compose", "vlframe.training.run", "vlframe.evaluation.run", "transformers", "tests.helpers.warm"]
)


class Command:
    """``vlframe <arguments>`` under way, the leader of a group of processes; used like a ``subprocess.Popen``.

    ``environment``: variables that it has beside those of the tests.
    """

    def __init__(self, *arguments: str, cwd: Path, **environment: str) -> None:
        self.arguments = arguments
        pipes = [WARM.Pipe(duplex=False) for _ in range(2)]
        self._process = WARM.Process(
            target=_run, args=(arguments, str(cwd), environment, *(writer for _, writer in pipes))
        )
        self._process.start()
        self.pid = self._process.pid
        self._texts = ["", ""]
        self._readers = [threading.Thread(target=self._read, args=(at, pipes[at][0])) for at in range(2)]
        for (_, writer), reader in zip(pipes, self._readers, strict=True):
            writer.close()
            reader.start()

    def _read(self, at: int, pipe: Connection) -> None:
        with pipe, open(pipe.fileno(), encoding="utf-8", closefd=False) as lines:
            self._texts[at] = lines.read()

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def communicate(self, timeout: float) -> tuple[str, str]:
        """What it and its children wrote, when the last of them has closed its mouth. Too late, all are killed."""
        for reader in (*self._readers, self._process):
            reader.join(timeout)
        if self.returncode is None or any(reader.is_alive() for reader in self._readers):
            os.killpg(self.pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired(self.arguments, timeout)
        return self._texts[0], self._texts[1]


def _run(
    arguments: tuple[str, ...], cwd: str, environment: dict[str, str], out: Connection, errors: Connection
) -> None:
    """In the forked process: what ``python -m vlframe`` would be."""
    os.environ.update(environment)
    os.setsid()
    os.chdir(cwd)
    for number, pipe in ((1, out), (2, errors)):
        os.dup2(pipe.fileno(), number)
        pipe.close()
    sys.argv = ["vlframe", *arguments]
    multiprocessing.set_start_method(None, force=True)  # data workers begin as in any other process
    from vlframe.cli import main

    sys.exit(main(list(arguments)))


def vlframe(*arguments: str, cwd: Path, check: bool = True) -> subprocess.CompletedProcess:
    """The command, forked, to its end."""
    command = Command(*arguments, cwd=cwd)
    out, errors = command.communicate(timeout=240)
    assert not check or command.returncode == 0, out + errors
    return subprocess.CompletedProcess(arguments, command.returncode, out, errors)


def vlframe_anew(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess:
    """The installed command, in an interpreter of its own: for what an environment changes as it starts."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("vlframe")), *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=240,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def processes_of(leader: Command) -> list[int]:
    """The processes of a command's group, by what the system says about each."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            group = int(stat.read_text().rpartition(")")[2].split()[2])
        except (FileNotFoundError, ProcessLookupError):  # gone since it was listed
            continue
        if group == leader.pid:
            found.append(int(stat.parent.name))
    return sorted(found)
