"""Runs a reader in a separate process, so that a file whose decoder hangs or crashes does not end the run.

One process serves all files in turn. If a file takes too long the process is killed; either that or a crash becomes a
``MediaError``, and the next file gets a new process.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlframe import errors
from vlframe.contracts.reader import FrameList, VideoInfo
from vlframe.errors import ConfigError, MediaError
from vlframe.media.pipe import Late, receive, send

if TYPE_CHECKING:
    import numpy as np

    from vlframe.contracts.reader import ClipPath, Reader

SCRIPT = Path(__file__).with_name("worker.py")
START_SECONDS = 120.0  # to import numpy and a decoder, from a slow disk
IMAGE_CALLS = ("load_image", "picture_count", "picture_size")
STARTS = 2  # attempts: a signal meant for the run may kill a process during its start


class ReaderProcess:
    """A ``Reader``, and what ``vlframe.media.images`` does, in another process; ``seconds`` is the limit for a file.

    Can be pickled and forked: each process that uses it starts its own child, with the first file.
    """

    def __init__(self, reader: Reader, seconds: float, name: str) -> None:
        self.reader = reader
        self.seconds = seconds
        self.name = name
        self._child: _Child | None = None
        self._until: float | None = None  # of the current file

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_child": None, "_until": None}

    @contextmanager
    def one_file(self) -> Iterator[None]:
        """Limit everything inside the context to ``seconds`` in total."""
        self._ready()
        self._until = time.monotonic() + self.seconds
        try:
            yield
        finally:
            self._until = None

    def info(self, path: ClipPath) -> VideoInfo:
        told = self._ask("info", path)
        return VideoInfo(**told | {"times": None if told["times"] is None else tuple(told["times"])})

    def frames(self, path: ClipPath, indices: Sequence[int]) -> np.ndarray:
        return self._ask("frames", path, indices=[int(index) for index in indices])

    def audio(self, path: ClipPath, sampling_rate: int, start: float | None, end: float | None) -> np.ndarray:
        return self._ask("audio", path, sampling_rate=sampling_rate, start=start, end=end)

    def load_image(self, path: Path) -> np.ndarray:
        return self._ask("load_image", path)

    def picture_count(self, path: Path) -> int:
        return self._ask("picture_count", path)

    def picture_size(self, path: Path) -> tuple[int, int]:
        height, width = self._ask("picture_size", path)
        return height, width

    def close(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child = None

    def _ask(self, call: str, path: ClipPath, **arguments: Any) -> Any:
        child = self._ready()
        until = self._until if self._until is not None else time.monotonic() + self.seconds
        asked = [str(item) for item in path] if isinstance(path, FrameList) else str(path)
        question = {"call": call, "path": asked, "arguments": arguments, "seconds": self.seconds}
        where = "by PIL" if call in IMAGE_CALLS else f"in the {self.name} reader"
        try:
            send(child.questions, question)
            head, body = receive(child.answers, until)
        except Late:
            self.close()
            raise MediaError(f"{path}: took longer than {self.seconds:g} s {where} (media.timeout)") from None
        except (EOFError, BrokenPipeError):
            code = child.ended()
            self._child = None
            raise MediaError(f"{path}: the decoder crashed ({_how(code)}) {where}") from None
        except BaseException:  # Ctrl-C: the pending answer must not be taken for the next question's
            self.close()
            raise
        return _value(head, body, f"{path} {where}")

    def _ready(self) -> _Child:
        """Return this process's child; a fork has only handles of its parent's."""
        if self._child is None or self._child.owner != os.getpid():
            self._child = _Child(self.reader, self.name)
        return self._child


class _Child:
    """A running ``worker.py`` with its reader."""

    def __init__(self, reader: Reader, name: str) -> None:
        self.owner = os.getpid()
        for attempt in range(STARTS):
            self.process = subprocess.Popen(
                [sys.executable, "-P", str(SCRIPT), json.dumps(sys.path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                process_group=0,  # Ctrl-C is for the run, which ends the child by closing its pipe
            )
            assert self.process.stdin is not None and self.process.stdout is not None
            self.questions, self.answers = self.process.stdin.fileno(), self.process.stdout.fileno()
            self.kill = weakref.finalize(self, _kill, self.process, self.owner)
            try:
                self._hand_over(reader, name)
                return
            except (EOFError, BrokenPipeError) as error:
                how = _how(self.ended())
                if attempt + 1 == STARTS:
                    raise RuntimeError(f"the process that decodes media ended at its start ({how})") from error

    def ended(self) -> int | None:
        """Return the exit code of a process that is ending by itself."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(START_SECONDS)  # it may be writing a core dump
        return self.kill()

    def _hand_over(self, reader: Reader, name: str) -> None:
        try:
            pickled, modules = _pickled(reader)
        except Exception as error:
            raise ConfigError(
                f"media.timeout needs a reader that can be pickled, to decode in another process, and {name} cannot: "
                f"{error}; set media.timeout=null to decode in this one"
            ) from error
        send(self.questions, {"modules": modules}, pickled)
        try:
            head, _ = receive(self.answers, time.monotonic() + START_SECONDS)
        except Late:
            self.kill()
            raise RuntimeError(f"the process that decodes media did not start within {START_SECONDS:g} s") from None
        if "failed" in head:
            self.kill()
            raise ConfigError(
                f"the {name} reader cannot be used in another process, which media.timeout needs; set "
                f"media.timeout=null to decode in this one\n{head['failed']}"
            )


def guarded(reader: Reader, seconds: float | None, name: str) -> Reader:
    """Wrap the reader with a time limit, if there is one; a reader that has one already is returned unchanged."""
    return reader if seconds is None or isinstance(reader, ReaderProcess) else ReaderProcess(reader, seconds, name)


def _pickled(reader: Reader) -> tuple[bytes, dict[str, str]]:
    """Return the pickled reader, and the file of each module that it (or a reader inside it) comes from."""
    names = set()

    class Pickler(pickle.Pickler):
        def reducer_override(self, item: Any) -> Any:
            names.add(item.__module__ if isinstance(item, type) else type(item).__module__)
            return NotImplemented

    buffer = io.BytesIO()
    Pickler(buffer).dump(reader)
    files = {name: getattr(sys.modules.get(name), "__file__", None) for name in names}
    return buffer.getvalue(), {name: str(Path(file).resolve()) for name, file in files.items() if file}


def _value(head: dict[str, Any], body: bytearray, asked: str) -> Any:
    if "error" in head:
        raise getattr(errors, head["error"])(head["words"])
    if "failed" in head:  # the reader's fault, not the file's: raised as it would be without a process
        raise RuntimeError(f"reading {asked} failed:\n{head['failed']}")
    if "value" in head:
        return head["value"]
    import numpy as np

    return np.frombuffer(body, dtype=head["dtype"]).reshape(head["shape"])


def _kill(process: subprocess.Popen, owner: int) -> int | None:
    """Kill the process and return its exit code. In a fork of the owner, leave it alone."""
    if os.getpid() != owner:
        return None
    process.kill()
    code = process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    return code


def _how(code: int | None) -> str:
    if code is not None and code < 0:
        known = {item.value: item.name for item in signal.Signals}
        return f"signal {-code}, {known.get(-code, 'unknown')}"
    return f"exit code {code}"
