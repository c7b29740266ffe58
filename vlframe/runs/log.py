"""vlframe's messages, on the terminal and in the run's log."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from vlframe.config.secrets import RedactingFormatter
from vlframe.runs.folder import RunFolder

log = logging.getLogger("vlframe")
IN_THE_FILE_ALONE = {"in_the_file_alone": True}  # ``extra`` of a message that the terminal shows in another form


def _file(folder: RunFolder) -> logging.FileHandler:
    return logging.FileHandler(folder.log, encoding="utf-8", errors="backslashreplace")


@contextmanager
def log_to(folder: RunFolder) -> Iterator[None]:
    """Send vlframe's messages to the terminal and to run.log."""
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr), _file(folder)]
    handlers[0].addFilter(lambda record: not hasattr(record, "in_the_file_alone"))
    handlers[0].setFormatter(RedactingFormatter("%(message)s"))
    handlers[1].setFormatter(RedactingFormatter("%(asctime)s %(message)s"))
    before = log.level, log.propagate
    for handler in handlers:
        log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    try:
        yield
    finally:
        log.setLevel(before[0])
        log.propagate = before[1]
        for handler in handlers:
            log.removeHandler(handler)
            handler.close()
