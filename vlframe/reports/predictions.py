"""The answers of a study's cells, question by question, for reading beside the clips."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from vlframe.contracts.modalities import TAGS
from vlframe.contracts.sample import without_tags
from vlframe.errors import ConfigError, named_line
from vlframe.reports.evidence import Evidence
from vlframe.reports.media import MediaFolder
from vlframe.studies.recorded import Recorded

Key = tuple[str, str]  # benchmark, id


@dataclass(frozen=True)
class Browsed:
    """Questions with the answers of each cell's first seed that is done. ``total`` counts the questions there are."""

    cells: tuple[str, ...]
    seeds: tuple[int, ...]
    questions: tuple[Mapping[str, Any], ...]
    total: int
    media_left_out: int


def browse(evidence: Evidence, media: MediaFolder, most: int) -> Browsed:
    """Choose at most ``most`` questions, those first that the cells answer differently, and take their media along."""
    first = {label: runs[0] for label, runs in evidence.runs.items() if runs}
    rows = {label: _rows(run) for label, run in first.items()}
    keys = list(dict.fromkeys(key for table in rows.values() for key in table))
    differ = {key for key in keys if len({_judged(table[key]) for table in rows.values() if key in table}) > 1}
    wanted = set(sorted(keys, key=lambda key: key not in differ)[:most])
    questions = tuple(_question(key, rows, media) for key in keys if key in wanted)
    left_out = sum(any(item["why"] for item in question["media"]) for question in questions)
    seeds = tuple(run.seed or 0 for run in first.values())
    return Browsed(tuple(first), seeds, questions, len(keys), left_out)


def _rows(run: Recorded) -> dict[Key, dict[str, Any]]:
    """Return the predictions of every benchmark. ConfigError: the file is not as vlframe wrote it."""
    if run.folder is None or not run.folder.predictions.is_file():
        return {}
    try:
        found = [json.loads(line) for line in run.folder.predictions.read_text(encoding="utf-8").splitlines()]
        return {(row["benchmark"], str(row["id"])): row for row in found}
    except (ValueError, LookupError, TypeError) as error:
        raise ConfigError(
            f"{run.folder.predictions} cannot be read: {named_line(error)}; vlframe evaluate "
            f"run={run.folder.path} writes it anew"
        ) from error


def _value(row: Mapping[str, Any]) -> Any:
    """Return the value of an answer by the primary metric."""
    return next(iter(row["scores"].values()), None)


def _judged(row: Mapping[str, Any]) -> str:
    return json.dumps([row["parsed"], _value(row)])


def _question(key: Key, rows: Mapping[str, Mapping[Key, Mapping[str, Any]]], media: MediaFolder) -> dict[str, Any]:
    row = next(table[key] for table in rows.values() if key in table)
    shown = [media.shown(path) for path in dict.fromkeys(row["media"])]
    return {
        "benchmark": key[0], "id": key[1], "category": row["category"],
        "question": without_tags(row["question"], list(TAGS)).strip(), "options": row["options"],
        "answers": row["answers"], "media": [asdict(item) for item in shown],
        "given": [_given(table.get(key)) for table in rows.values()],
    }  # fmt: skip


def _given(row: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if row is None:
        return None
    value: Any = _value(row)
    return {"text": row["text"], "parsed": row["parsed"], "value": value, "judged": _judged(row)}
