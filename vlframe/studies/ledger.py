"""The ledger of a study: a folder for each cell and seed, in which its runs are, beside a line for each thing that
happened to it.

    cells/<label>-seed<seed>-<digest>/
        identity.json     label, axes, seed, overrides, and what the digest is of
        ledger.jsonl      begun, halved, stopped, failed, done; only the process that holds the lock adds lines
        lock, holder.json
        <time>-<id>/      run folders

A line that cannot be read is left out and said; what is then missing is seen in the run folders.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from vlframe.runs.folder import RunFolder, write_json
from vlframe.runs.outcome import Outcome

NEEDED = {"done": ("run",), "failed": ("why",), "halved": ("stage", "batch_size", "accumulate_grad_batches")}
Standing = Literal["new", "begun", "stopped", "failed", "done", "gone"]


@dataclass(frozen=True)
class Entry:
    """What is known of one cell with one seed. ``gone``: it was done, and its run folder is not there any more."""

    folder: Path
    identity: Mapping[str, Any] = field(default_factory=dict)  # of identity.json
    standing: Standing = "new"
    run: Path | None = None  # the newest run folder, or the one that was done
    why: str = ""  # what there is to say: the last line of the error, or which folder is gone
    notes: Sequence[str] = ()  # lines that cannot be read, and what was changed to make the run fit
    seconds: float = 0.0  # of all attempts
    scores: Mapping[str, Any] | None = None  # the tree of ``Evaluation``, also of a run that is gone
    halved: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # the stages' keys that were changed to fit
    events: Sequence[Mapping[str, Any]] = ()

    @property
    def digest(self) -> str:
        return self.folder.name.rpartition("-")[2]

    @property
    def noted_done(self) -> bool:
        """Return whether it is done, and the ledger says so in its last line."""
        return self.standing == "done" and bool(self.events) and self.events[-1]["event"] == "done"

    @property
    def label(self) -> str:
        return str(self.identity.get("label", self.folder.name))

    @property
    def seed(self) -> int | None:
        return self.identity.get("seed")


def cell_folder(study: Path, label: str, seed: int, digest: str) -> Path:
    """Return the folder of a cell and seed: the one that is there, whatever the label was, or the one to make."""
    there = sorted((study / "cells").glob(f"*-{digest}"))
    slug = re.sub(r"[^A-Za-z0-9.=_]+", "-", label).strip("-.") or "cell"
    return there[0] if there else study / "cells" / f"{slug[:80]}-seed{seed}-{digest}"


def entries(study: Path) -> list[Entry]:
    """Return all that was ever begun in a study's folder, cells too that its file has no longer."""
    return [read_entry(folder) for folder in sorted((study / "cells").glob("*-*")) if folder.is_dir()]


def read_entry(folder: Path) -> Entry:
    """Read what is in a cell's folder."""
    events, notes = _events(folder / "ledger.jsonl")
    identity = _identity(folder / "identity.json")
    notes += [
        f"memory ran out in stage {item['stage']}: micro-batch {item['batch_size']}, {item['accumulate_grad_batches']} "
        f"of them a step"
        for item in events
        if item["event"] == "halved"
    ]
    halved = {item["stage"]: {key: item[key] for key in ("batch_size", "accumulate_grad_batches")}
              for item in events if item["event"] == "halved"}  # fmt: skip
    done = [item for item in events if item["event"] == "done"]
    standing, run, why = _standing(folder, events)
    return Entry(
        folder, identity, standing, run, why, tuple(notes), sum(item.get("seconds") or 0.0 for item in events),
        done[-1].get("scores") if done else None, halved, tuple(events),
    )  # fmt: skip


def begin(folder: Path, identity: Mapping[str, Any]) -> None:
    """Write what a cell is, when it is begun for the first time."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "identity.json").is_file():
        write_json(folder / "identity.json", identity)


def add_event(folder: Path, event: str, **more: Any) -> None:
    """Add a line. Behind one that was torn it begins on a line of its own."""
    row = {"event": event, "time": f"{datetime.now():%F %T}", **more}
    with open(folder / "ledger.jsonl", "a+b") as file:
        if file.tell() > 0:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")
        file.write(json.dumps(row, ensure_ascii=True).encode("ascii") + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _standing(folder: Path, events: Sequence[Mapping[str, Any]]) -> tuple[Standing, Path | None, str]:
    newest = max(_runs(folder), default=None)
    last = next((item for item in reversed(events) if item["event"] in ("done", "failed", "stopped", "begun")), None)
    if last is not None and last["event"] == "done":
        run = folder / str(last["run"])
        if (run / "config.yaml").is_file():
            return "done", run, ""
        return "gone", newest, f"its run folder {run} is gone; vlframe study run makes it again"
    if last is not None and last["event"] == "failed":
        return "failed", newest, str(last["why"])
    outcome = None if newest is None else Outcome.read(RunFolder(newest))
    if outcome is not None and outcome.state == "done":  # its process died before it could say so
        return "done", newest, ""
    if last is not None and last["event"] == "stopped":
        return "stopped", newest, str(last.get("why", ""))
    return ("new" if newest is None and last is None else "begun"), newest, ""


def _runs(folder: Path) -> Iterator[Path]:
    return (config.parent for config in folder.glob("[!.]*/config.yaml"))


def _events(file: Path) -> tuple[list[dict[str, Any]], list[str]]:
    if not file.is_file():
        return [], []
    events, notes = [], []
    for number, line in enumerate(file.read_bytes().splitlines(), 1):
        try:
            row = json.loads(line)
            events.append({**row, **{key: row[key] for key in ("event", *NEEDED.get(row["event"], ()))}})
        except (ValueError, LookupError, TypeError):
            notes.append(f"line {number} of {file} cannot be read and is left out")
    return events, notes


def _identity(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else {}
    except (OSError, ValueError):
        return {}
