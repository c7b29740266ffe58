"""A run's folder: its config, the versions used, and all its results."""

from __future__ import annotations

import json
import os
import platform
import secrets
import subprocess
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from importlib.metadata import distribution, distributions
from pathlib import Path
from typing import Any

from vlframe.config.schema import RunConfig, run_schema
from vlframe.config.typed import frozen, read_yaml, to_yaml, typed
from vlframe.errors import ConfigError
from vlframe.paths import at_home
from vlframe.registry.registry import Registry


class RunFolder:
    """``runs/<experiment>/<time>-<short id>/`` and the names of the files in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.versions = path / "versions.json"
        self.metrics_json = path / "metrics.json"
        self.scores = path / "scores.json"
        self.metrics_csv = path / "metrics.csv"
        self.predictions = path / "predictions.jsonl"
        self.quarantine = path / "quarantine.jsonl"
        self.parameters = path / "parameters.json"
        self.checkpoints = path / "checkpoints"
        self.best = path / "best.json"
        self.log = path / "run.log"
        self.changes = path / "changes.jsonl"
        self.outcome = path / "outcome.json"
        self.cost = path / "cost.json"

    @classmethod
    def create(cls, config: RunConfig, registry: Registry) -> RunFolder:
        """Create a folder with the resolved config and the versions of everything involved."""
        try:
            return cls._create(Path(at_home(config.runs)) / config.name, config, registry)
        except ConfigError as error:
            raise ConfigError(f"{error}; choose another place with runs=<folder>") from error

    def evaluation(self, config: RunConfig, registry: Registry) -> RunFolder:
        """Create ``evaluations/<time>-<short id>/`` in this folder, for scores under another config: with that config,
        the versions, and the same file names.
        """
        return self._create(self.path / "evaluations", config, registry)

    @classmethod
    def _create(cls, place: Path, config: RunConfig, registry: Registry) -> RunFolder:
        stamp = f"{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
        aside = cls(place / f".{stamp}")  # so that a process killed here leaves no incomplete folder
        try:
            aside.path.mkdir(parents=True)
        except OSError as error:
            raise ConfigError(f"no run folder can be made in {place}: {error.strerror}") from error
        write_text(aside.config, to_yaml(config))
        write_json(aside.versions, versions(registry))
        os.replace(aside.path, place / stamp)
        return cls(place / stamp)

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """Open the folder of an existing run."""
        folder = cls(Path(at_home(str(path))))
        if (run := _run_around(folder.path)) is not None:
            what = "a checkpoint" if (folder.path / "state.json").is_file() else "a part"
            raise ConfigError(
                f"{str(path)!r} is {what} of the run {run}; name the run, whose newest checkpoint is used"
            )
        if not folder.config.is_file():
            runs = [file for up in ("", "[!.]*/") for file in folder.path.glob(f"{up}[!.]*/config.yaml")]
            newest = max(runs, key=lambda file: file.parent.name, default=None) if str(path) else None
            hint = f"its newest is {newest.parent}" if newest else "runs are in runs/<experiment>/<id>"
            lacks = "it has no config.yaml" if folder.path.is_dir() else f"there is no such folder in {Path.cwd()}"
            raise ConfigError(f"{str(path)!r} is no run folder: {lacks}; {hint}")
        return folder

    def read_config(self) -> RunConfig:
        """Read the config from the folder, without comparing its components with installed ones."""
        schema = run_schema()
        return frozen(schema, typed(schema, read_yaml(self.config)))


def _run_around(path: Path) -> Path | None:
    """Return the run that a file or folder inside of it belongs to; None for a run, or something outside of runs."""
    if (path / "state.json").is_file() and path.parent.name == "checkpoints":
        return path.parent.parent
    found = next((at for at in (path, *path.parents) if _is_run(RunFolder(at))), None)
    return None if found == path else found


def _is_run(folder: RunFolder) -> bool:
    return folder.config.is_file() and folder.versions.is_file()


def versions(registry: Registry) -> dict[str, Any]:
    """Return the versions of plugins, packages, Python, platform and git commit of this process."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "git_commit": git_commit(),
        "vlframe": own_version(),
        "plugins": {plugin.name: plugin.version for plugin in registry.plugins},
        "packages": dict(_packages()),
    }


@cache
def _packages() -> Sequence[tuple[str, str]]:
    """Return the installed packages with their versions, by name; parsing their metadata takes a while."""
    return sorted((item.name, item.version) for item in distributions() if item.name)


def own_version() -> dict[str, str | None]:
    """Return vlframe's version, and its commit if it runs from a working tree or was installed from git. None for a
    package from an index.
    """
    here = Path(__file__).resolve().parent
    tracked = (
        _git(here, "ls-files", "--error-unmatch", Path(__file__).name) is not None
    )  # and not merely inside some other tree
    origin = distribution("vlframe").read_text("direct_url.json")  # PEP 610
    of_install = json.loads(origin).get("vcs_info", {}).get("commit_id") if origin else None
    return {"version": distribution("vlframe").version, "git_commit": git_commit(here) if tracked else of_install}


def git_commit(folder: Path | None = None) -> str | None:
    """Return the commit of a working tree, with ``-dirty`` if it has changes; None outside one."""
    return _git(folder, "describe", "--always", "--dirty", "--abbrev=40", "--match=")


def _git(folder: Path | None, *words: str) -> str | None:
    """Return git's output; None without git, outside a working tree, and where it takes too long (a slow disk)."""
    try:
        answer = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def write_text(path: Path, text: str) -> None:
    """Write a file completely or not at all: to a temporary file, flushed, renamed.

    Invalid Unicode (half a surrogate pair, as in a file name that is not UTF-8) is written as JSON escapes it,
    ``\\ud83d``, and restored when JSON is read.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    with open(aside, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)


def write_json(path: Path, value: Mapping[str, Any] | list[Any]) -> None:
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def append_jsonl(path: Path, rows: list[Mapping[str, Any]]) -> None:
    """Add lines to a file. Invalid Unicode is escaped as in ``write_text``."""
    with open(path, "a", encoding="utf-8", errors="backslashreplace") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
