"""Pushes recorded runs to Weights & Biases, online or to its offline files: each run once, and again only where
something has changed.

    <run>/wandb/pushed.json      what was pushed where: the run's id there, a digest of all that was sent
    <run>/wandb/offline-run-…    the newest offline files; a push takes those of the push before away
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlframe.config.secrets import redacted
from vlframe.errors import ConfigError, UserError, named_line, one_line
from vlframe.runs.folder import RunFolder, write_json
from vlframe.studies.pushable import Pushable, config_of, identity_of, read_pushable, with_every_key
from vlframe.studies.selected import Selected, select_runs
from vlframe.training.wandb_login import check_login

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vlframe.config.schema import RunConfig

PROJECT = "vlframe"
MODES = ("online", "offline")
# Ours to say, run by run: a name, an id or a sweep from the environment would be the same for all.
ONE_RUN = ("RUN_ID", "NAME", "NOTES", "RUN_GROUP", "JOB_TYPE", "TAGS", "RESUME", "SWEEP_ID", "DIR")


@dataclass(frozen=True)
class Target:
    """Where to. ``entity`` None: the user's own."""

    project: str
    entity: str | None
    offline: bool

    def __str__(self) -> str:
        place = f"{self.entity}/{self.project}" if self.entity else self.project
        return f"{place}, offline" if self.offline else place


@dataclass
class Pushed:
    """What a push did. ``files`` are the offline files it wrote; ``problems`` what is missing, in sentences."""

    where: Target
    done: list[Path] = field(default_factory=list)  # run folders
    unchanged: list[Path] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def target(project: str | None, entity: str | None, mode: str | None) -> Target:
    """Return where to push: as asked, as W&B's environment variables say, or to ``vlframe`` online. ConfigError: wandb
    is not installed, or nobody is logged in.
    """
    try:
        import wandb  # noqa: F401
    except ImportError as error:
        raise ConfigError("vlframe wandb push needs Weights & Biases: pip install 'vlframe[wandb]'") from error
    mode = mode or os.environ.get("WANDB_MODE") or "online"
    if mode not in MODES:
        raise ConfigError(
            f"WANDB_MODE is {mode!r}, and vlframe wandb push can do {' and '.join(MODES)}; say mode=offline"
        )
    check_login(offline=mode == "offline", mode=mode, what="vlframe wandb push")
    return Target(
        project or os.environ.get("WANDB_PROJECT") or PROJECT,
        entity or os.environ.get("WANDB_ENTITY") or None,
        mode == "offline",
    )


def push_runs(paths: Sequence[str | Path], where: Target) -> Pushed:
    """Push the runs in these folders. ConfigError: there is none."""
    selection = select_runs(paths)
    pushed = Pushed(where, notes=selection.notes, problems=selection.problems)
    readable = [(item, config) for item in selection.runs if (config := _read(item, pushed)) is not None]
    shown = with_every_key([config_of(item, config) for item, config in readable])
    import wandb

    with _each_its_own():
        for number, ((item, config), values) in enumerate(zip(readable, shown, strict=True), 1):
            try:
                _push(item, config, values, pushed)
            except wandb.errors.CommError as error:  # each further run would wait as long for no answer
                said = redacted(one_line(error))
                pushed.problems.append(f"W&B does not take {item.folder.path}: {said}; {len(readable) - number} more "
                                       f"run(s) were not tried")  # fmt: skip
                break
            except Exception as error:  # the service, its files or the disk: the other runs are pushed
                said = redacted(named_line(error))
                pushed.problems.append(f"{item.folder.path} could not be pushed: {said}")
    return pushed


def _read(item: Selected, pushed: Pushed) -> RunConfig | None:
    try:
        return item.folder.read_config()
    except UserError as error:
        pushed.problems.append(f"{item.folder.path} could not be pushed: its config is of another vlframe: {error}")
        return None


def _push(item: Selected, config: RunConfig, values: Mapping[str, Any], pushed: Pushed) -> None:
    content, about = read_pushable(item, config), identity_of(config)
    pushed.problems += content.problems
    records = _records(item.folder)
    before = records.get(str(pushed.where), {})
    now = {"id": before.get("id", item.digest), "content": _digest(content, about, values)}
    files = item.folder.path / str(before["files"]) if before.get("files") else None
    if before.get("content") == now["content"] and (files is None or files.is_dir()):
        pushed.unchanged.append(item.folder.path)
        return
    made = _sent(item.folder, now["id"], content, about, values, pushed)
    if made is not None:
        pushed.files.append(made)
        now["files"] = made.relative_to(item.folder.path.resolve()).as_posix()
    write_json(_record_file(item.folder), {**records, str(pushed.where): now})
    if files is not None and files.is_dir():
        shutil.rmtree(files)  # of the push before, which this one replaces
    pushed.done.append(item.folder.path)
    pushed.notes.append(f"{item.folder.path} -> {about['name']} ({now['id']})")


def _sent(
    folder: RunFolder, run_id: str, content: Pushable, about: Mapping[str, Any], values: Mapping[str, Any],
    pushed: Pushed,
) -> Path | None:  # fmt: skip
    """Send a run whole: without ``resume`` it takes the place of one with its id. Returns its offline files."""
    import wandb

    from vlframe.training.wandb_tables import prediction_table

    where = pushed.where
    run = wandb.init(
        project=where.project, entity=where.entity, mode="offline" if where.offline else "online", id=run_id,
        name=about["name"], group=about["group"], job_type=about["job_type"], tags=about["tags"], config=dict(values),
        dir=str(folder.path.resolve()), reinit="create_new",
        # Not of this process, nor of this machine.
        settings=wandb.Settings(
            silent=True, console="off", disable_git=True, disable_code=True, disable_job_creation=True, symlink=False,
            x_disable_meta=True, x_disable_stats=True, x_disable_machine_info=True, x_save_requirements=False,
        ),
    )  # fmt: skip
    code = 1
    try:
        last = content.history[-1][0] if content.history else 0
        for step, row in content.history:
            run.log(dict(row), step=step)
        for item in content.tables:
            table, problems = prediction_table(item.rows, item.media)
            pushed.problems += problems
            run.log({item.key: table}, step=last)
        run.summary.update(dict(content.summary))
        code = content.exit_code
        return Path(run.settings.sync_dir).resolve() if where.offline else None
    finally:
        run.finish(exit_code=code)


def _digest(content: Pushable, about: Mapping[str, Any], values: Mapping[str, Any]) -> str:
    """Return the hash of all that is sent; of media their names, sizes and times of change."""
    media = [
        [str(path), path.stat().st_size, path.stat().st_mtime_ns]
        for table in content.tables
        for row in table.media
        for _, path in row
    ]
    tables = [[table.key, list(table.rows)] for table in content.tables]
    sent = [dict(about), dict(values), list(content.history), dict(content.summary), content.exit_code, tables, media]
    return hashlib.sha256(json.dumps(sent, sort_keys=True).encode("ascii")).hexdigest()


def _record_file(folder: RunFolder) -> Path:
    return folder.path / "wandb" / "pushed.json"


def _records(folder: RunFolder) -> dict[str, dict[str, str]]:
    """Return what was pushed, by where to; nothing if that cannot be read, which pushes the run whole again."""
    try:
        found = json.loads(_record_file(folder).read_text(encoding="utf-8"))
        return {key: dict(value) for key, value in found.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


@contextmanager
def _each_its_own() -> Iterator[None]:
    """Keep environment variables that would make all runs one away from W&B."""
    names = [f"WANDB_{name}" for name in ONE_RUN]
    kept = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ |= kept
