"""``resume=<folder>``: which config the run goes on with, what that changes, and a record of it.

config.yaml                   what the run does now
changes.jsonl                 one line a change: when, at which checkpoint, each key with both values
config-until-<checkpoint>.yaml   what the run did up to that checkpoint
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from omegaconf import DictConfig, OmegaConf

from vlframe.errors import ConfigError
from vlframe.registry import Registry
from vlframe.runs.changes import Change, differences, judged
from vlframe.runs.checkpoint import Checkpoint, checkpoints
from vlframe.runs.folder import RunFolder, read_yaml, write_text
from vlframe.runs.log import log
from vlframe.runs.session import checked


@dataclass(frozen=True)
class Resumption:
    """A run that goes on, and how it differs from what it was."""

    folder: RunFolder
    config: DictConfig  # to go on with
    before: DictConfig  # what it did so far
    reached: Checkpoint | None
    changes: list[Change]
    told: bool

    def record(self) -> None:
        """Make the folder tell the truth. A run that is killed in here is judged again when it is next resumed."""
        text = OmegaConf.to_yaml(self.config, resolve=True)
        name = self.reached.path.name if self.reached else "start"
        if self.changes:
            earlier = self.folder.path / f"config-until-{name}.yaml"
            if not earlier.exists():
                write_text(earlier, OmegaConf.to_yaml(self.before, resolve=True))
            row = {
                "time": f"{datetime.now():%Y-%m-%d %H:%M:%S}",
                "checkpoint": name,
                "told": self.told,
                "changes": {item.key: [item.old, item.new] for item in self.changes},
                "config_sha256": _hash(text),
            }
            lines = self.folder.changes.read_text(encoding="utf-8") if self.folder.changes.is_file() else ""
            write_text(self.folder.changes, lines + json.dumps(row, ensure_ascii=False) + "\n")
        if self.changes or plain(self.folder.read_config()) != plain(self.config):
            write_text(self.folder.config, text)

    def announce(self) -> None:
        """The changed keys, in the log."""
        for item in self.changes:
            log.info("changed: %s", item)


def resumption(asked: DictConfig, registry: Registry) -> Resumption:
    """Compare what is asked (``resume`` set) with what the run did; ConfigError for what it cannot take."""
    folder = RunFolder.open(asked.resume)
    saved = checked(folder.read_config(), {}, registry)
    told = asked.resume_changes == "allow"
    config = checked(asked, {"resume": None, "resume_changes": "refuse"}, registry)
    found = checkpoints(folder)
    reached = found[-1] if found else None
    before = _what_ran(folder, saved, reached, registry)
    changes = judged(plain(before), plain(config), reached)
    edited = {item.key for item in differences(plain(before), plain(saved))}
    _refuse(folder, reached, changes, told, edited)
    return Resumption(folder, config, before, reached, changes, told)


def plain(config: DictConfig) -> dict[str, Any]:
    """A config as plain values."""
    values = OmegaConf.to_container(config, resolve=True)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def _what_ran(folder: RunFolder, saved: DictConfig, reached: Checkpoint | None, registry: Registry) -> DictConfig:
    """What the newest checkpoint says it was made by: config.yaml may have been edited since, by a person. One that is
    as a recorded change left it is no such edit."""
    if reached is None or not (reached.path / "config.yaml").is_file():
        return saved
    if _recorded(folder) == _hash(folder.config.read_text(encoding="utf-8")):
        return saved
    return checked(read_yaml(reached.path / "config.yaml"), {}, registry)


def _recorded(folder: RunFolder) -> str | None:
    """The hash of the config that the last recorded change left."""
    if not folder.changes.is_file():
        return None
    try:
        return str(json.loads(folder.changes.read_text(encoding="utf-8").splitlines()[-1])["config_sha256"])
    except (ValueError, LookupError, TypeError) as error:
        raise ConfigError(
            f"{folder.changes} is not as vlframe wrote it ({error!r}); remove it, and config.yaml is compared with the "
            f"newest checkpoint's"
        ) from error


def _refuse(folder: RunFolder, reached: Checkpoint | None, changes: list[Change], told: bool, edited: set[str]) -> None:
    never = [item for item in changes if item.verdict == "never"]
    unasked = [] if told else [item for item in changes if item.verdict == "told"]
    if not never and not unasked:
        return
    sentences = [f"{item} cannot be: {item.why}" for item in never]
    if unasked:
        keys = "; ".join(str(item) for item in unasked)
        sentences.append(
            f"{keys} would change what the run computes. Leave that out; or say resume_changes=allow to go on with it "
            f"from here; or begin a new run (init.run={folder.path} takes the weights)"
        )
    if edited & {item.key for item in [*never, *unasked]}:
        sentences.append("config.yaml in the folder was edited; what the run did is in the checkpoint's config.yaml")
    assert reached is not None
    raise ConfigError(
        f"{folder.path} is at {reached.path.name}, and not all that is asked fits. {'. '.join(sentences)}"
    )


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
