"""One cell with one seed, done by whoever gets to it first: its lock, its ledger, its run."""

from __future__ import annotations

import gc
import json
import os
import socket
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlframe.composer.command_line import parse
from vlframe.composer.compose import compose_line
from vlframe.config.schema import RunConfig, SweepConfig
from vlframe.config.secrets import redacted
from vlframe.errors import ConfigError, OutOfMemory, OutputError, UserError, one_line
from vlframe.runs.checkpoint import checkpoints
from vlframe.runs.folder import RunFolder
from vlframe.runs.outcome import Outcome, sentence
from vlframe.studies.digest import changes, digest, identity
from vlframe.studies.ledger import Entry, add_event, begin, entries, read_entry
from vlframe.studies.lock import Held, locked

if TYPE_CHECKING:
    from vlframe.registry.registry import Registry


CUT = ("batch_size", "accumulate_grad_batches")  # of a stage that ran out of memory; their product stays


@dataclass(frozen=True)
class Task:
    """What one job is told: plain values, which a launcher can send to another machine."""

    study: str  # its folder
    folder: str  # the cell's
    label: str
    axes: Mapping[str, str]
    seed: int
    words: tuple[str, ...]  # all overrides
    identity: Mapping[str, Any]
    by: str  # one name for all tasks of one command
    retry: bool = False
    fail_fast: bool = False
    hours: float | None = None  # of the study's budget


@dataclass(frozen=True)
class Attempt:
    """What became of a task: ``done``, ``failed``, ``stopped``, ``held`` (another process is at it), ``left`` (not
    begun, and why)."""

    state: str
    why: str = ""


def attempt(task: Task, registry: Registry) -> Attempt:
    """Return a finished result, go on with a begun run, or run. What goes wrong with the cell is in its ledger; a
    signal ends the process, as it does in ``vlframe train``."""
    folder = Path(task.folder)
    try:
        with locked(folder) as dead:
            if dead is not None:
                print(f"{task.label}, seed {task.seed}: {dead} is gone, and left this cell", flush=True)
            return _held(task, folder, registry)
    except Held as held:
        return Attempt("held", str(held))


def _held(task: Task, folder: Path, registry: Registry) -> Attempt:
    entry = read_entry(folder)
    if entry.standing == "done":
        # Where the ledger has no line of it, its process died between the run's end and that line.
        return Attempt("done") if entry.noted_done else _done(task, folder, entry.run, 0.0)
    if entry.standing == "failed" and not task.retry:
        return Attempt("failed", entry.why)
    if why := _why_not_now(task):
        return Attempt("left", why)
    print(f"{task.label}, seed {task.seed}: {_how(entry)}", flush=True)
    begin(folder, {"label": task.label, "axes": dict(task.axes), "seed": task.seed, "words": list(task.words),
                   **task.identity})  # fmt: skip
    add_event(folder, "begun", by=task.by, pid=os.getpid(), host=socket.gethostname())
    while True:
        before = time.monotonic()
        try:
            error = _run(task, read_entry(folder), registry)
        except (SystemExit, KeyboardInterrupt) as stop:
            seconds = time.monotonic() - before
            add_event(folder, "stopped", why=f"stopped by a signal ({stop})", seconds=seconds, by=task.by)
            raise
        seconds = time.monotonic() - before
        if error is None:
            return _ended(task, folder, seconds)
        if not isinstance(error, OutOfMemory) or not _halve(task, folder, error, seconds):
            return _failed(task, folder, _last_line(error), seconds)


def _ended(task: Task, folder: Path, seconds: float) -> Attempt:
    """Note how a run ended that raised nothing: done, or stopped before its time (trainer.max_time)."""
    entry = read_entry(folder)
    if entry.standing == "done":
        return _done(task, folder, entry.run, seconds)
    outcome = None if entry.run is None else Outcome.read(RunFolder(entry.run))
    why = outcome.why if outcome else ""
    add_event(folder, "stopped", why=why, seconds=seconds, by=task.by)
    return Attempt("stopped", why)


def _failed(task: Task, folder: Path, why: str, seconds: float) -> Attempt:
    add_event(folder, "failed", why=why, seconds=seconds, by=task.by)
    print(f"{task.label}, seed {task.seed} failed: {why}", flush=True)
    return Attempt("failed", why)


def _last_line(error: Exception) -> str:
    """Return a user's mistake as one sentence; for any other error, the line that says what it was."""
    if isinstance(error, UserError):
        return redacted(one_line(error))
    lines = str(error).strip().splitlines()
    return redacted(f"{type(error).__name__}: {lines[-1].strip()}" if lines else type(error).__name__)


def _how(entry: Entry) -> str:
    if entry.standing == "gone":
        return entry.why.replace("vlframe study run makes it again", "it is run again")
    return "is run" if entry.run is None else f"goes on in {entry.run}"


def _why_not_now(task: Task) -> str:
    if not (task.fail_fast or task.hours):
        return ""
    found = entries(Path(task.study))
    failed = [item for item in found if any(e["event"] == "failed" and e.get("by") == task.by for e in item.events)]
    if task.fail_fast and failed:
        return f"--fail-fast: {failed[0].label}, seed {failed[0].seed} has failed"
    hours = sum(item.seconds for item in found) / 3600
    if task.hours and hours >= task.hours:
        return f"budget.hours is {task.hours:g}, and {hours:.2f} are spent"
    return ""


def _run(task: Task, entry: Entry, registry: Registry) -> Exception | None:
    """Train and evaluate. An error is returned, so that nothing of the run is held by its traceback's frames."""
    from vlframe.training.run import train

    try:
        train(_config(task, entry, registry), registry)
    except OutputError as error:  # the run is done, and not everything of it could be logged
        print(f"{task.label}, seed {task.seed}: {error}", flush=True)
    except Exception as error:  # a fault in a cell is that cell's: the others are run
        if not isinstance(error, UserError):
            _keep_traceback(Path(task.folder), error)
        return _released(error)
    return None


def _released(error: Exception) -> Exception:
    """Return the error without its frames, after giving memory back."""
    error.__traceback__ = None
    error.__cause__ = error.__context__ = None
    gc.collect()
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return error


def _keep_traceback(folder: Path, error: Exception) -> None:
    (folder / "traceback.txt").write_text(redacted("".join(traceback.format_exception(error))), encoding="utf-8")


def _config(task: Task, entry: Entry, registry: Registry) -> RunConfig:
    """Return the run's config, in the cell's folder. ConfigError: it is another run here than where it was planned."""
    config: RunConfig = compose_line("train", parse("train", task.words), registry)
    here = identity(config, registry)
    if digest(here) != digest(task.identity):
        keys = "; ".join(map(str, changes(task.identity, here)))
        raise ConfigError(f"on this machine the cell is another run than it was planned to be ({keys})")
    cells, place = Path(task.folder).parent, Path(task.folder).name
    stages = {name: replace(stage, **entry.halved.get(name, {})) for name, stage in config.stages.items()}
    words = (*(f"{axis}={label}" for axis, label in task.axes.items()), f"seed={task.seed}")
    begun = entry.run if entry.standing != "gone" and _goes_on(entry) else None
    return replace(
        config, runs=str(cells), name=place, stages=stages, words=tuple(task.words),
        sweep=SweepConfig(task.study, None, words), resume=None if begun is None else str(begun),
    )  # fmt: skip


def _goes_on(entry: Entry) -> bool:
    """Return whether the newest run can be resumed: not where a stage that is under way gets another micro-batch."""
    if entry.run is None:
        return False
    found = checkpoints(RunFolder(entry.run))
    if not found or not entry.halved:
        return True
    stages = RunFolder(entry.run).read_config().stages
    reached = list(stages)[: found[-1].stage_number + 1]
    return all(
        (stages[name].batch_size, stages[name].accumulate_grad_batches)
        == (keys["batch_size"], keys["accumulate_grad_batches"])
        for name, keys in entry.halved.items()
        if name in reached
    )


def _halve(task: Task, folder: Path, error: OutOfMemory, seconds: float) -> bool:
    """Note that the stage that ran out of memory is to have half the micro-batch and twice the accumulation, or as near
    to that as keeps their product. False: one sample is too much already."""
    entry = read_entry(folder)
    stage = RunFolder(entry.run).read_config().stages[error.stage] if entry.run else None
    if stage is None:
        return False
    now = entry.halved.get(error.stage) or {name: getattr(stage, name) for name in CUT}
    size, times = (now[name] for name in CUT)
    parts = next((count for count in range(2, size + 1) if size % count == 0), None)
    if parts is None:
        return False
    smaller, more = size // parts, times * parts
    add_event(folder, "halved", stage=error.stage, batch_size=smaller, accumulate_grad_batches=more,
              why=sentence(error), seconds=seconds, by=task.by)  # fmt: skip
    print(
        f"{task.label}, seed {task.seed}: memory ran out in stage {error.stage} with {size} samples at once; "
        f"it is tried with {smaller}, {more} times a step",
        flush=True,
    )
    return True


def _done(task: Task, folder: Path, run: Path | None, seconds: float) -> Attempt:
    """Note the end, with the scores. A primary score that is no number is a failure."""
    from vlframe.evaluation.scores import Evaluation

    assert run is not None
    scores = RunFolder(run).scores
    tree = json.loads(scores.read_text(encoding="utf-8")) if scores.is_file() else None
    value = None if tree is None else Evaluation.from_tree(tree).first.overall.primary.value
    if value is None or value != value:
        why = f"its {'score is not a number' if value is not None else 'run made no scores'} ({run})"
        return _failed(task, folder, why, seconds)
    add_event(folder, "done", run=run.name, seconds=seconds, by=task.by, scores=tree)
    return Attempt("done")
