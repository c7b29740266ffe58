"""Results that could not be written or logged after the work was done: reported in one line each, without
ending the run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from vlframe.errors import OutputError
from vlframe.runs.log import log


class Unlogged:
    """Counts what loggers and writers of results failed to do. Each kind is one line in the log, the first time."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    @contextmanager
    def kept(self, what: str) -> Iterator[None]:
        """Catch any exception inside and count it as ``what``: libraries may raise anything here, and none of it should
        end a trained run.
        """
        try:
            yield
        except Exception as error:
            self.counts[what] += 1
            if self.counts[what] == 1:
                log.warning("%s failed: %s: %s", what, type(error).__name__, " ".join(str(error).split()))

    def check(self, place: object) -> None:
        """Raise ``OutputError`` if anything is missing in ``place``."""
        if not self.counts:
            return
        failures = ", ".join(f"{what} ({count} times)" if count > 1 else what for what, count in self.counts.items())
        raise OutputError(
            f"the work is done, but some of its results could not be written or logged: {failures} failed; the reasons "
            f"are in the log of {place}. Checkpoints are whole: vlframe evaluate run={place} scores the run again"
        )
