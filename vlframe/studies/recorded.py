"""Reads a run's folder for comparison: how it ended, its scores, and its answers question by question."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from vlframe.config.typed import read_yaml
from vlframe.errors import ConfigError, named_line
from vlframe.evaluation.scores import Evaluation, Scores
from vlframe.runs.folder import RunFolder
from vlframe.runs.outcome import Outcome
from vlframe.runs.sweep import is_sweep, read_jobs


@dataclass(frozen=True)
class Answer:
    """A question of a benchmark, and the value of a run's answer to it."""

    worth: float | None  # by the primary metric; None: not applicable, or not defined for a single answer
    asked: tuple[Any, ...]  # the question's content: text, options, expected answer, names of its media
    clip: frozenset[str]  # the files it is about
    graded: bool  # not just right or wrong
    controls: Mapping[str, float] = field(default_factory=dict)  # its worth with something taken away


@dataclass(frozen=True)
class Recorded:
    """A run, one of its evaluations, or a job without a run (``folder`` is None). ``why`` says what is wrong; empty:
    the run is done and scored.
    """

    words: tuple[str, ...] = ()  # of the job
    folder: RunFolder | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    evaluation: Evaluation | None = None
    trained: int | None = None  # the most parameters that a stage trained
    why: str = ""
    ended: bool = True  # completed; scores of other runs are those of a partly trained model

    @property
    def name(self) -> str:
        return str(self.config.get("name", ""))

    @property
    def seed(self) -> int | None:
        return self.config.get("seed")

    @property
    def scores(self) -> Scores | None:
        """Return the scores that runs are compared by: of the run's benchmark, or the first of several."""
        return self.evaluation.first if self.evaluation else None

    @property
    def metric(self) -> str | None:
        return next(iter(self.scores.overall.metrics)) if self.scores else None

    @cached_property
    def answers(self) -> Mapping[str, Answer]:
        """Return the answers by question id; none if there is no file of them. ConfigError: vlframe did not
        write it like this.
        """
        asked = self.evaluation.first_name if self.evaluation else None
        return read_answers(self.folder, asked, self.metric)


def read_answers(
    folder: RunFolder | None, benchmark: str | None, metric: str | None, category: str = ""
) -> dict[str, Answer]:
    """Return a run's answers to a benchmark, worth what a metric says, by question id; of one category, if it is given.
    None if there is no file of them. ConfigError: vlframe did not write it like this.
    """
    if folder is None or not folder.predictions.is_file():
        return {}
    try:
        with open(folder.predictions, encoding="utf-8") as file:
            rows = (json.loads(line) for line in file)
            return {
                str(row["id"]): answer_of(row, metric)
                for row in rows
                if row["benchmark"] == benchmark and category in ("", row["category"])
            }
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ConfigError(
            f"{folder.predictions} cannot be read: {named_line(error)}; vlframe evaluate "
            f"run={folder.path} writes it anew"
        ) from error


def answer_of(row: Mapping[str, Any], metric: str | None) -> Answer:
    """Parse a line of predictions.jsonl. Names of media are without folders, which differ between machines; so is the
    group that a question belongs to, where there is one.
    """
    media = row["media"]
    asked = (row["question"], tuple(row["options"]), tuple(row["answers"]), tuple(Path(path).name for path in media))
    value = row["scores"][metric]
    worth = float(value) if isinstance(value, int | float) else None
    clip = frozenset([row["group"]]) if row.get("group") else frozenset(media)
    taken = {name: other["scores"].get(metric) for name, other in row.get("controls", {}).items()}
    controls = {name: float(other) for name, other in taken.items() if isinstance(other, int | float)}
    return Answer(worth, asked, clip, worth is not None and not isinstance(value, bool), controls)


def recorded_runs(paths: Sequence[str | Path]) -> list[Recorded]:
    """Return the runs of these folders in order: a run, one of its evaluations, a sweep, or any folder containing such
    (sorted by start time). ConfigError: nothing is there.
    """
    found: dict[Path | int, Recorded] = {}
    for path in map(Path, paths):
        for item in _in(path):
            found.setdefault(item.folder.path.resolve() if item.folder else len(found), item)
    return list(found.values())


def _in(path: Path) -> Iterator[Recorded]:
    if is_sweep(path):
        yield from map(_of_job, read_jobs(path))
        return
    folders = [path] if (path / "config.yaml").is_file() else sorted(_folders(path), key=lambda item: item.name)
    if not folders:
        RunFolder.open(path)  # raises the error that explains what is there instead
    yield from (_of_folder(RunFolder.open(folder)) for folder in folders)


def _folders(path: Path) -> Iterator[Path]:
    """Yield the run folders below, without those inside a run."""
    for inner in path.iterdir() if path.is_dir() else ():
        if inner.is_dir() and not inner.name.startswith("."):
            if (inner / "config.yaml").is_file():
                yield inner
            else:
                yield from _folders(inner)


def _of_job(job: Mapping[str, Any]) -> Recorded:
    words = tuple(job["words"])
    if job["run"] is None:
        return Recorded(words, why=f"failed: {job['error']}" if job["error"] else "made no run", ended=False)
    folder = RunFolder(Path(job["run"]))
    if not folder.config.is_file():
        return Recorded(words, why=f"its folder {folder.path} is gone", ended=False)
    return _of_folder(folder, words)


def _of_folder(folder: RunFolder, words: tuple[str, ...] = ()) -> Recorded:
    try:
        config = read_yaml(folder.config, resolve=False)
    except ConfigError as error:
        return Recorded(words, why=str(error), ended=False)
    words = words or tuple((config.get("sweep") or {}).get("words") or ())
    try:
        tree = json.loads(folder.scores.read_text("utf-8")) if folder.scores.is_file() else None
        scores = None if tree is None else Evaluation.from_tree(tree)
        outcome, trained = Outcome.read(folder), _trained(folder)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        why = f"what is written in {folder.path} cannot be read: {named_line(error)}"
        return Recorded(words, folder, config, why=why, ended=False)
    ended = outcome is None or outcome.state == "done"  # no outcome: an evaluation, or a converted checkpoint
    why = "" if ended and scores else _unscored(config) if ended else _unfinished(outcome)
    return Recorded(words, folder, config, scores, trained, why, ended)


def _unfinished(outcome: Outcome | None) -> str:
    assert outcome is not None
    steps = f" at {outcome.steps_done} of {outcome.steps_asked} steps" if outcome.steps_asked else ""
    if outcome.state == "running":
        return f"is running, or was killed{steps and f': its checkpoints are{steps}'}"
    return f"{outcome.state}{steps}: {outcome.why}"


def _unscored(config: Mapping[str, Any]) -> str:
    if config.get("benchmark") is None and not any((config.get("benchmarks") or {}).values()):
        return "no scores: it has no benchmark"
    return "no scores: vlframe evaluate run=… makes them"


def _trained(folder: RunFolder) -> int | None:
    if not folder.parameters.is_file():
        return None
    stages = json.loads(folder.parameters.read_text("utf-8")).values()
    return max((sum(part["trained"] for part in stage.values()) for stage in stages), default=None)
