"""Messages of vlframe: on the terminal, and in the run's log."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from vlframe.runs.folder import RunFolder
from vlframe.secrets import RedactingFormatter

log = logging.getLogger("vlframe")


@contextmanager
def log_to(folder: RunFolder) -> Iterator[None]:
    """Messages of vlframe on the terminal and in run.log."""
    handlers = [logging.StreamHandler(sys.stderr), logging.FileHandler(folder.log, encoding="utf-8")]
    handlers[0].setFormatter(RedactingFormatter("%(message)s"))
    handlers[1].setFormatter(RedactingFormatter("%(asctime)s %(message)s"))
    for handler in handlers:
        log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    try:
        yield
    finally:
        for handler in handlers:
            log.removeHandler(handler)
            handler.close()
