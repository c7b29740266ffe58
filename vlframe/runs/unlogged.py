"""Results that could not be written or logged: reported in one line each, without ending the run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vlframe.errors import OutputError
from vlframe.runs.log import log
from vlframe.runs.outcome import sentence


def _nobody_listens() -> bool:
    return False


class Unlogged:
    """Counts what loggers and writers of results failed to do. Each kind is one line in the log, the first time.

    ``take_interrupt`` is asked what to do about a Ctrl-C that others' code turned into KeyboardInterrupt: it returns
    True if the run takes it as its own signal, False to let the exception through.
    """

    def __init__(self, take_interrupt: Callable[[], bool] = _nobody_listens) -> None:
        self.counts: Counter[str] = Counter()
        self.take_interrupt = take_interrupt

    @contextmanager
    def kept(self, what: str) -> Iterator[None]:
        """Catch any exception inside and count it as ``what``: libraries may raise anything here, SystemExit too, and
        none of it should end a trained run. Ctrl-C is no failure, but the user's.
        """
        try:
            yield
        except KeyboardInterrupt:
            if not self.take_interrupt():
                raise
        except GeneratorExit:  # of the code around this, which ends
            raise
        except BaseException as error:
            self.counts[what] += 1
            if self.counts[what] == 1:
                log.warning("%s failed: %s", what, sentence(error))

    @property
    def summary(self) -> str:
        """Return what failed, and how often; "" if nothing did."""
        if not self.counts:
            return ""
        failures = ", ".join(f"{what} ({count} times)" if count > 1 else what for what, count in self.counts.items())
        return f"some results could not be written or logged: {failures} failed"

    def check(self, place: object) -> None:
        """Raise ``OutputError`` if anything is missing in ``place``."""
        if self.counts:
            raise OutputError(
                f"the work is done, but {self.summary}; the reasons are in the log of {place}. Checkpoints are whole: "
                f"vlframe evaluate run={place} scores the run again"
            )
