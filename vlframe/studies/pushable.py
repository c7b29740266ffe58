"""What vlframe recorded of a run, in the form of a run on Weights & Biases. Reads folders, and sends nothing."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlframe.config.asking import main_benchmark
from vlframe.config.secrets import without_secrets
from vlframe.config.typed import read_yaml
from vlframe.errors import MediaError, named_line, some_of
from vlframe.evaluation.scores import Evaluation
from vlframe.runs.changes import differences
from vlframe.runs.folder import RunFolder
from vlframe.runs.outcome import Outcome
from vlframe.studies.selected import Selected
from vlframe.training.wandb_identity import axes_of, summary_of, with_identity
from vlframe.training.wandb_tables import SHOWN, can_show

if TYPE_CHECKING:
    from vlframe.config.schema import RunConfig

NEEDED = ("benchmark", "id", "category", "question", "answers", "text", "parsed", "scores", "media")  # of a prediction


@dataclass(frozen=True)
class PredictionRows:
    """A table of one benchmark's predictions; ``media`` has kinds and files, for the first rows."""

    key: str
    rows: Sequence[Mapping[str, Any]]
    media: Sequence[Sequence[tuple[str, Path]]]


@dataclass(frozen=True)
class Pushable:
    """A run's content. ``history`` has rows in the order of their steps, the scores in the last one."""

    history: Sequence[tuple[int, Mapping[str, float]]]
    summary: Mapping[str, Any]
    tables: Sequence[PredictionRows]
    exit_code: int
    problems: list[str] = field(default_factory=list)  # sentences, on what is left out


def config_of(item: Selected, run: RunConfig) -> dict[str, Any]:
    """Return the config as it is shown: the run's own, facts that no key has, and what its evaluations changed."""
    config, axes = read_yaml(item.folder.config), axes_of(run)
    known = _json(item.folder.versions, [])
    cost = item.run.scores.cost if item.run.scores else None
    ranks = _ranks(config.get("trainer") or {})
    stages = config.get("stages") or {}
    facts = {
        **({"axes": axes} if axes else {}),
        "vlframe": known.get("vlframe") if isinstance(known, Mapping) else None,
        "tokens_per_clip": cost.tokens_per_clip if cost else None,
        "global_batch": {name: _samples(stage, ranks) for name, stage in stages.items()},
    }
    evaluations = {
        folder.path.name: {change.key: change.new for change in differences(config, read_yaml(folder.config))}
        for folder in _evaluations(item.folder)
    }
    return without_secrets({**config, **facts, **({"evaluations": evaluations} if evaluations else {})})


def with_every_key(configs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the configs with all keys of all of them, at every depth; None where one has none."""
    shape: dict[str, Any] = {}
    for config in configs:
        _widen(shape, config)
    return [_filled(config, shape) for config in configs]


def identity_of(config: RunConfig) -> dict[str, Any]:
    """Return name, group, job type and tags."""
    return dict(without_secrets(with_identity({}, config)))


def read_pushable(item: Selected, config: RunConfig) -> Pushable:
    """Read all that a run recorded. What cannot be read is a sentence in ``problems``, and the rest is there."""
    problems: list[str] = []
    outcome = _outcome(item, problems)
    history = _history(item.folder, outcome is not None, problems)
    scores: dict[str, float] = {}
    tables: list[PredictionRows] = []
    for place, folder in [
        ("", item.folder),
        *((f"evaluations/{at.path.name}/", at) for at in _evaluations(item.folder)),
    ]:
        found = _scores(folder, problems)
        scores |= {f"{place or 'eval/'}{key}": value for key, value in (found.flat() if found else {}).items()}
        main = found.main if found else main_benchmark(config)
        tables += _tables(folder, place, main, config.evaluation.media_in_tables, problems)
    if scores:
        last, values = history.pop() if history else (outcome.steps_done if outcome else 0, {})
        history.append((last, {**values, **scores}))
    ended = outcome or Outcome("done", "", 0, 0, 0)
    code = ended.code_for_services
    code = 1 if code is None or (ended.state == "failed" and not code) else code
    return Pushable(history, without_secrets({**scores, **summary_of(ended)}), tables, code, problems)


def _outcome(item: Selected, problems: list[str]) -> Outcome | None:
    """Return how the run ended, by its study's ledger where that knows better: a score that is no number."""
    try:
        outcome = Outcome.read(item.folder)
    except (OSError, ValueError, TypeError) as error:
        problems.append(_unreadable(item.folder.outcome, error))
        return Outcome("failed", "outcome.json cannot be read", 0, 0)
    if outcome is not None and outcome.state == "running":
        return Outcome("running", "is running, or was killed", outcome.steps_done, outcome.steps_asked)
    if outcome is not None and item.entry is not None and item.entry.run is not None:
        newest = item.entry.run.resolve() == item.folder.path.resolve()
        if newest and item.entry.standing == "failed" and outcome.state == "done":
            return Outcome("failed", item.entry.why, outcome.steps_done, outcome.steps_asked, 1)
    return outcome


def _history(folder: RunFolder, trained: bool, problems: list[str]) -> list[tuple[int, Mapping[str, float]]]:
    """Return the rows of metrics.csv. A row that follows a later step belongs to that step, as in the live history."""
    file, rows = folder.metrics_csv, list[tuple[int, dict[str, float]]]()
    if not file.is_file():
        if trained:
            problems.append(f"{folder.path} has no metrics.csv, so there are no curves of it")
        return []
    columns, *lines = file.read_text(encoding="utf-8", errors="replace").split("\n") or [""]
    names = next(csv.reader([columns]))
    for number, line in enumerate(lines, 2):
        if not line:
            continue
        try:
            if number == len(lines) + 1:
                raise ValueError("the line does not end")
            cells = dict(zip(names, next(csv.reader([line])), strict=True))
            step = int(float(cells.pop("step")))
            values = {name: float(cell) for name, cell in cells.items() if cell}
        except (ValueError, LookupError, OverflowError):
            problems.append(f"line {number} of {file} cannot be read and is left out")
            continue
        if rows and step <= rows[-1][0]:
            rows[-1][1].update(values)
        else:
            rows.append((step, {**values, "trainer/global_step": step}))
    return list(rows)


def _scores(folder: RunFolder, problems: list[str]) -> Evaluation | None:
    if not folder.scores.is_file():
        return None
    try:
        return Evaluation.from_tree(json.loads(folder.scores.read_text(encoding="utf-8")))
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        problems.append(_unreadable(folder.scores, error))
        return None


def _tables(
    folder: RunFolder, place: str, main: str | None, with_media: int, problems: list[str]
) -> list[PredictionRows]:
    """Return a table for each benchmark in predictions.jsonl."""
    if not folder.predictions.is_file():
        return []
    by_benchmark: dict[str, list[dict[str, Any]]] = {}
    for number, line in enumerate(folder.predictions.read_bytes().splitlines(), 1):
        try:
            row = json.loads(line)
            if not isinstance(row["scores"], dict):
                raise TypeError("scores")
            kept = without_secrets({key: row[key] for key in NEEDED if key != "media"})
            by_benchmark.setdefault(row["benchmark"], []).append(
                {**kept, "media": [str(path) for path in row["media"]]}
            )
        except (ValueError, LookupError, TypeError):
            problems.append(f"line {number} of {folder.predictions} cannot be read and is left out")
    tables = []
    for name, rows in by_benchmark.items():
        media = [_media(row["media"]) for row in rows[:with_media]]
        gone = dict.fromkeys(str(path) for pairs in media for _, path in pairs if not path.exists())
        if gone:
            problems.append(f"{len(gone)} media file(s) of {folder.predictions} are gone: {some_of(list(gone), 3)}")
        prefix = "" if name == main else f"{name}/"
        shown = [[pair for pair in pairs if pair[1].exists()] for pairs in media]
        tables.append(PredictionRows(f"{place}{prefix}predictions", rows, shown))
    return tables


def _media(names: Sequence[str]) -> list[tuple[str, Path]]:
    """Return kind and file of what W&B can show; the content decides where a name may be of several kinds."""
    return [(kind, path) for path in map(Path, names) if (kind := _kind(path)) is not None]


def _kind(path: Path) -> str | None:
    named = [kind for kind in SHOWN if can_show(kind, path)]
    if len(named) < 2 or not path.exists():
        return named[0] if named else None
    from vlframe.media.file_kind import media_kind

    try:
        found = media_kind(path)
    except MediaError:  # damaged: it is not shown, and W&B says why
        return named[0]
    return found if found in named else None


def _evaluations(folder: RunFolder) -> list[RunFolder]:
    """Return the evaluations under other settings, in the order of their times."""
    return [RunFolder(file.parent) for file in sorted((folder.path / "evaluations").glob("[!.]*/config.yaml"))]


def _json(file: Path, otherwise: Any) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return otherwise


def _ranks(trainer: Mapping[str, Any]) -> int | None:
    devices, nodes = trainer.get("devices"), trainer.get("num_nodes", 1)
    return devices * nodes if isinstance(devices, int) and isinstance(nodes, int) and devices > 0 else None


def _samples(stage: Mapping[str, Any], ranks: int | None) -> int | None:
    """Return the samples of an optimizer step; None where the number of devices is not recorded."""
    size, times = stage.get("batch_size"), stage.get("accumulate_grad_batches")
    return size * times * ranks if size and times and ranks else None


def _widen(shape: dict[str, Any], config: Mapping[str, Any]) -> None:
    for key, value in config.items():
        if isinstance(value, Mapping):
            inner = shape.get(key)
            shape[key] = inner if isinstance(inner, dict) else {}
            _widen(shape[key], value)
        else:
            shape.setdefault(key, None)


def _filled(config: Mapping[str, Any], shape: Mapping[str, Any]) -> dict[str, Any]:
    filled: dict[str, Any] = {}
    for key, inner in shape.items():
        value = config.get(key)
        if isinstance(inner, dict) and (value is None or isinstance(value, Mapping)) and inner:
            filled[key] = _filled(value or {}, inner)
        else:
            filled[key] = value
    return filled


def _unreadable(file: Path, error: Exception) -> str:
    return f"{file} cannot be read and is left out: {named_line(error)}"
