"""The state of a run, or how it ended: ``outcome.json`` in its folder."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Literal

from vlframe.config.secrets import redacted
from vlframe.errors import OutputError, named_line
from vlframe.runs.folder import RunFolder, write_json

State = Literal["running", "done", "stopped", "failed"]


@dataclass(frozen=True)
class Outcome:
    """The outcome of a run. ``state`` is ``running`` from the start, and stays so if the process is killed.

    ``stopped`` is a run that was asked to stop (a signal, ``trainer.max_time``) and can be resumed; ``failed`` one that
    ended with an error.
    """

    state: State
    why: str  # a sentence; for a finished run, which stages ended early or changed nothing, and what was not logged
    steps_done: int  # optimizer steps, over all stages and resumptions; of a run that goes on: those in checkpoints
    steps_asked: int
    exit_code: int | None = None  # of the process; None while it runs

    @property
    def code_for_services(self) -> int | None:
        """Return the exit code that W&B is told, which shows a run with any but 0 as failed: one whose results could
        not all be logged is none.
        """
        return 0 if self.exit_code == OutputError.exit_code else self.exit_code

    @classmethod
    def read(cls, folder: RunFolder) -> Outcome | None:
        """Read the outcome from a folder; None if it is not a run's (an evaluation, a converted checkpoint)."""
        return cls(**json.loads(folder.outcome.read_text(encoding="utf-8"))) if folder.outcome.is_file() else None

    def write(self, folder: RunFolder) -> None:
        write_json(folder.outcome, asdict(self))


def sentence(error: BaseException) -> str:
    """Return an error's class and message in one line, without secrets."""
    return redacted(named_line(error))
