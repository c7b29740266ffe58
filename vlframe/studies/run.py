"""``vlframe study run``: rounds over what is left, until nothing is, wherever the rest is being run."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vlframe.errors import UserError
from vlframe.runs.folder import write_json, write_text
from vlframe.studies.attempt import Attempt, Task
from vlframe.studies.resolved import Planned, changed
from vlframe.studies.study import Study

if TYPE_CHECKING:
    from vlframe.registry.registry import Registry

WAIT = 2.0  # seconds between two looks at cells that other processes run


@dataclass(frozen=True)
class RunSettings:
    """How cells are run; nothing here changes what they compute."""

    launcher: tuple[str, ...] = ()  # Hydra's words: hydra/launcher=joblib hydra.launcher.n_jobs=2
    plugin_paths: tuple[str, ...] = ()
    fail_fast: bool = False
    retry: bool = False  # failed cells too


class CellsFailed(UserError):
    """Some cells failed; the others are done."""


def run_study(study: Study, planned: Sequence[Planned], registry: Registry, settings: RunSettings) -> None:
    """Run what is not done. Cells that other processes are at are waited for, and taken over if these die.

    CellsFailed: what failed, or was not begun, once nothing more can be done.
    """
    _note(study)
    for line in changed(study, planned):
        print(line, flush=True)
    by, settled = uuid.uuid4().hex[:12], dict[str, Attempt]()
    noted = {item.digest for item in planned if item.entry(study).noted_done}
    settled |= dict.fromkeys(noted, Attempt("done"))
    left = [item for item in planned if not item.why and item.digest not in noted]
    waited: set[str] = set()
    while left:
        attempts = _round(study, left, registry, settings, by)
        settled |= {item.digest: found for item, found in zip(left, attempts, strict=True)}
        left = [item for item in left if settled[item.digest].state == "held"]
        for item in left:
            if item.digest not in waited:
                print(f"{item.cell.label}, seed {item.seed} is run by {settled[item.digest].why}; waiting", flush=True)
                waited.add(item.digest)
        if left and not any(found.state == "done" for found in attempts):
            time.sleep(WAIT)
    _refuse_unfinished(study, planned, settled)


def _note(study: Study) -> None:
    """Keep the file as it was last used beside what came of it."""
    study.folder.mkdir(parents=True, exist_ok=True)
    write_text(study.folder / "study.yaml", study.file.read_text(encoding="utf-8"))
    write_json(study.folder / "study.json", {
        "name": study.name, "file": str(study.file.resolve()), "baseline": study.baseline.label,
        "seeds": list(study.config.seeds),
    })  # fmt: skip


def _round(
    study: Study, left: Sequence[Planned], registry: Registry, settings: RunSettings, by: str
) -> Sequence[Attempt]:
    from vlframe.composer.launch import launched

    tasks = [_task(study, item, settings, by) for item in left]
    found: list[Attempt] = launched(
        "vlframe.studies.attempt:attempt", tasks, settings.launcher, study.folder / "launches", registry,
        settings.plugin_paths,
    )  # fmt: skip
    return found


def _task(study: Study, item: Planned, settings: RunSettings, by: str) -> Task:
    assert item.identity is not None
    return Task(
        str(study.folder), str(item.folder(study)), item.cell.label, dict(item.cell.axes), item.seed, item.words,
        item.identity, by, retry=settings.retry, fail_fast=settings.fail_fast, hours=study.config.budget.hours,
    )  # fmt: skip


def _refuse_unfinished(study: Study, planned: Sequence[Planned], settled: dict[str, Attempt]) -> None:
    told = []
    for item in planned:
        found = Attempt("failed", item.why) if item.why else settled[item.digest]
        if found.state != "done":
            told.append(f"{item.cell.label}, seed {item.seed}: {found.state}: {found.why}")
    if told:
        some = "; ".join(told)
        raise CellsFailed(
            f"{len(told)} of {len(planned)} runs of {study.name} are not done: {some}. The same command goes on with "
            f"what was stopped or left; --retry runs failed cells again, too. What there is: vlframe study show "
            f"{study.file}"
        )
