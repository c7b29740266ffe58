"""Messages between vlframe's own processes: a JSON head, then the bytes of an array."""

from __future__ import annotations

import json
import os
import select
import struct
import time
from collections.abc import Mapping
from typing import Any

LENGTHS = struct.Struct("<IQ")  # bytes of the head, bytes of the body


class Late(Exception):
    """The other side did not answer in time."""


def send(pipe: int, head: Mapping[str, Any], body: bytes | memoryview = b"") -> None:
    """Send a message. Raises ``BrokenPipeError`` if the reader is gone."""
    # ASCII escapes preserve file names that are not valid UTF-8; `item` converts numpy numbers.
    text = json.dumps(head, default=lambda number: number.item()).encode("ascii")
    rest = memoryview(body).cast("B")
    for piece in (memoryview(LENGTHS.pack(len(text), len(rest)) + text), rest):
        while piece:
            piece = piece[os.write(pipe, piece) :]


def receive(pipe: int, until: float | None = None) -> tuple[dict[str, Any], bytearray]:
    """Receive head and body. Raises ``EOFError`` when the other side is gone, ``Late`` after ``until``
    (``time.monotonic``).
    """
    head_length, body_length = LENGTHS.unpack(_exactly(pipe, LENGTHS.size, until))
    head = json.loads(_exactly(pipe, head_length, until))
    return head, _exactly(pipe, body_length, until)


def _exactly(pipe: int, length: int, until: float | None) -> bytearray:
    found = bytearray(length)
    rest = memoryview(found)
    while rest:
        if until is not None and not _ready(pipe, until):
            raise Late
        count = os.readv(pipe, [rest])
        if not count:
            raise EOFError
        rest = rest[count:]
    return found


def _ready(pipe: int, until: float) -> bool:
    poll = select.poll()  # `select` itself fails on numbers of 1024 and more
    poll.register(pipe, select.POLLIN)
    return bool(poll.poll(max(0.0, until - time.monotonic()) * 1000))
