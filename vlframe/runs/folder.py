"""A run's folder: what was asked, with which versions, and everything that came of it."""

from __future__ import annotations

import json
import os
import platform
import secrets
import subprocess
from collections.abc import Mapping
from datetime import datetime
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from yaml import YAMLError

from vlframe.errors import ConfigError
from vlframe.registry import Registry


class RunFolder:
    """``runs/<experiment>/<time>-<short id>/`` and the names of the files in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.versions = path / "versions.json"
        self.metrics_json = path / "metrics.json"
        self.metrics_csv = path / "metrics.csv"
        self.predictions = path / "predictions.jsonl"
        self.quarantine = path / "quarantine.jsonl"
        self.parameters = path / "parameters.json"
        self.checkpoints = path / "checkpoints"
        self.log = path / "run.log"
        self.changes = path / "changes.jsonl"

    @classmethod
    def create(cls, config: DictConfig, registry: Registry) -> RunFolder:
        """A new folder with the resolved config and the versions of everything in it."""
        try:
            return cls._create(Path(config.runs) / config.name, config, registry)
        except ConfigError as error:
            raise ConfigError(f"{error}; runs=<folder> says where") from error

    def evaluation(self, config: DictConfig, registry: Registry) -> RunFolder:
        """``evaluations/<time>-<short id>/`` in this folder, for what the run scores under another config than its own:
        that config, the versions, and the same names of files."""
        return self._create(self.path / "evaluations", config, registry)

    @classmethod
    def _create(cls, place: Path, config: DictConfig, registry: Registry) -> RunFolder:
        stamp = f"{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
        aside = cls(place / f".{stamp}")  # so that a process killed here leaves no half folder
        try:
            aside.path.mkdir(parents=True)
        except OSError as error:
            raise ConfigError(f"no run folder can be made in {place}: {error.strerror}") from error
        write_text(aside.config, OmegaConf.to_yaml(config, resolve=True))
        write_json(aside.versions, versions(registry))
        os.replace(aside.path, place / stamp)
        return cls(place / stamp)

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """The folder of a run that there is."""
        folder = cls(Path(path))
        if not folder.config.is_file():
            newest = max(folder.path.glob("[!.]*/config.yaml"), default=None) if str(path) else None
            hint = f"its newest is {newest.parent}" if newest else "runs are in runs/<experiment>/<id>"
            raise ConfigError(f"{str(path)!r} is no run folder: it has no config.yaml; {hint}")
        return folder

    def read_config(self) -> DictConfig:
        return read_yaml(self.config)


def read_yaml(path: Path) -> DictConfig:
    """A config of plain values. ConfigError: no YAML, or with tags that would make objects of some class."""
    try:
        loaded = OmegaConf.load(path)
    except (YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as a config: {' '.join(str(error).split())}") from error
    if not isinstance(loaded, DictConfig):
        raise ConfigError(f"{path} is no config: it has no keys at its top")
    return loaded


def versions(registry: Registry) -> dict[str, Any]:
    """Plugins, packages, Python, platform and git commit of this process."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "git_commit": git_commit(),
        "plugins": {plugin.name: plugin.version for plugin in registry.plugins},
        "packages": dict(sorted((item.name, item.version) for item in distributions() if item.name)),
    }


def git_commit(folder: Path | None = None) -> str | None:
    """The commit of a working tree, with ``-dirty`` when it has changes; None outside of one."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--match="]
    try:
        answer = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=10)
    except OSError:  # no git on this machine
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def write_text(path: Path, text: str) -> None:
    """Whole or not at all: written aside, flushed, renamed."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    with open(aside, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)


def write_json(path: Path, value: Mapping[str, Any] | list[Any]) -> None:
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def append_jsonl(path: Path, rows: list[Mapping[str, Any]]) -> None:
    with open(path, "a", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
