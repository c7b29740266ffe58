"""The process in which files are decoded, so that it can be killed. Started by ``vlframe.media.process``, as a script.

It ends when its pipe closes, and by itself if one file takes far longer than allowed (its parent may be gone by then).
Imports here cost every data worker time: no torch.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from typing import Any

GRACE = 10  # seconds beyond the limit after which the process ends itself


def main() -> None:
    sys.path[:] = json.loads(sys.argv[1])  # the parent's path, to find the same modules
    for number in (signal.SIGINT, signal.SIGTERM):  # meant for the parent, which still needs its batch
        signal.signal(number, signal.SIG_IGN)
    questions, answers = os.dup(0), os.dup(1)
    os.dup2(2, 1)  # a library that prints must not print into the answers
    from vlframe.media.pipe import receive, send

    try:
        head, body = receive(questions)
        reader = _reader(head, bytes(body))
    except EOFError:
        return
    except Exception:
        send(answers, {"failed": traceback.format_exc()})
        return
    send(answers, {"ready": True})
    while True:
        try:
            head, _ = receive(questions)
            signal.alarm(int(head.pop("seconds")) + GRACE)  # kills even inside a decoder
            answer, array = _answer(reader, head)
            signal.alarm(0)
            send(answers, answer, b"" if array is None else memoryview(array))
        except (EOFError, BrokenPipeError):  # the parent is gone
            return


def _reader(head: dict[str, Any], pickled: bytes) -> Any:
    """Unpickle the reader that the parent process has just sent."""
    import importlib.util
    import pickle

    for name, file in head["modules"].items():
        if not _importable(name):  # a plugin that is a single file
            spec = importlib.util.spec_from_file_location(name, file)
            assert spec is not None and spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[name] = module
            spec.loader.exec_module(module)
    return pickle.loads(pickled)


def _importable(name: str) -> bool:
    import importlib.util

    try:
        return importlib.util.find_spec(name) is not None
    except ImportError:
        return False


def _answer(reader: Any, question: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """Return the head of an answer, and its array."""
    from vlframe.errors import UserError

    try:
        value = _do(reader, **question)
    except UserError as error:
        return {"error": type(error).__name__, "words": str(error)}, None
    except Exception:
        return {"failed": traceback.format_exc()}, None
    if question["call"] in ("info", "picture_count", "picture_size"):
        return {"value": value}, None
    import numpy as np

    array = np.asarray(value)
    return {"dtype": array.dtype.str, "shape": array.shape}, np.ascontiguousarray(array).reshape(-1)


def _do(reader: Any, call: str, path: str | list[str], arguments: dict[str, Any]) -> Any:
    from dataclasses import asdict
    from pathlib import Path

    from vlframe.contracts.reader import FrameList
    from vlframe.media import images

    where = Path(path) if isinstance(path, str) else FrameList(map(Path, path))
    if call == "info":
        return asdict(reader.info(where))
    owner = images if call in ("load_image", "picture_count", "picture_size") else reader
    return getattr(owner, call)(where, **arguments)


if __name__ == "__main__":
    main()
