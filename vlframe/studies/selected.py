"""The runs that a command is to take: of a study's file or folder, of a sweep, or in any folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vlframe.errors import ConfigError
from vlframe.runs.folder import RunFolder
from vlframe.studies.digest import digest_of_recorded
from vlframe.studies.ledger import Entry, entries, read_entry
from vlframe.studies.recorded import Recorded, recorded_runs
from vlframe.studies.study import Study, read_study


@dataclass(frozen=True)
class Selected:
    """A run, with the digest of its config and seed; ``entry`` is its place in a study's ledger."""

    run: Recorded
    folder: RunFolder
    digest: str
    entry: Entry | None = None


@dataclass
class Selection:
    """Runs, each digest once. ``notes`` say what was left out on purpose, ``problems`` what has no run."""

    runs: list[Selected] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def select_runs(paths: Sequence[str | Path]) -> Selection:
    """Return the runs in order; of several with one digest the newest. ConfigError: nothing is there."""
    selection = Selection()
    found: list[Selected] = []
    for path in map(Path, paths):
        if path.is_file():
            study = read_study(path)
            found += _of_study(study.folder, selection, study)
        elif (path / "cells").is_dir():
            found += _of_study(path, selection)
        else:
            found += _of_folder(path, selection)
    newest = {item.digest: item for item in sorted(found, key=lambda item: item.folder.path.name)}
    for item in found:
        other = newest[item.digest]
        if other.folder.path.resolve() != item.folder.path.resolve():
            selection.notes.append(f"{item.folder.path} is left out: {other.folder.path} is the same run, and newer")
    chosen = {id(item) for item in newest.values()}
    selection.runs = [item for item in found if id(item) in chosen]
    if not selection.runs and not selection.problems:
        raise ConfigError(f"there is no run in {', '.join(map(str, paths))}")
    return selection


def _of_study(folder: Path, selection: Selection, study: Study | None = None) -> Iterator[Selected]:
    """Yield the newest run of each cell and seed. A cell that was changed is the one that was begun last."""
    last: dict[tuple[str, int | None], Entry] = {}
    for entry in sorted(entries(folder), key=_begun):
        key = (entry.label, entry.seed)
        if key in last:
            selection.notes.append(f"{last[key].folder} is left out: the cell has changed since")
        last[key] = entry
    if not last:
        raise ConfigError(f"the study in {folder} has no run yet; vlframe study run makes them")
    wanted = None if study is None else {(cell.label, seed) for cell in study.cells for seed in study.config.seeds}
    for key, entry in last.items():
        what = f"{entry.label}, seed {entry.seed}"
        selection.notes += [f"{what}: {note}" for note in entry.notes]
        if wanted is not None and key not in wanted:
            selection.notes.append(f"{what} is left out: it is in the study's file no longer")
        elif entry.run is None or entry.standing == "gone":
            selection.problems.append(f"{what} has no run to push: {entry.why or 'it was not begun'}")
        else:
            yield from (item for run in recorded_runs([entry.run]) if (item := _selected(run, selection)))
    if wanted is not None and (new := wanted - last.keys()):
        selection.notes.append(f"{len(new)} of {len(wanted)} runs of the study are not begun yet")


def _begun(entry: Entry) -> str:
    return max((str(event.get("time", "")) for event in entry.events if event["event"] == "begun"), default="")


def _of_folder(path: Path, selection: Selection) -> Iterator[Selected]:
    inside = path.parent.parent if path.parent.name == "evaluations" else path.parent
    path = inside if path.name == "evaluations" or inside != path.parent else path  # scores are pushed with their run
    yield from (item for run in recorded_runs([path]) if (item := _selected(run, selection)))


def _selected(run: Recorded, selection: Selection) -> Selected | None:
    if run.folder is None or not run.config:
        selection.problems.append(f"{' '.join(run.words) or 'a run'}: {run.why}")
        return None
    cell = run.folder.path.parent
    entry = read_entry(cell) if (cell / "identity.json").is_file() else None
    return Selected(run, run.folder, entry.digest if entry else digest_of_recorded(run.config), entry)
