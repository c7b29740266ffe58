"""``resume=<folder>``: determines the config to continue with, judges its changes, and records them.

config.yaml                   what the run does now
changes.jsonl                 one line a change: when, at which checkpoint, each key with both values
config-until-<checkpoint>.yaml   what the run did up to that checkpoint
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from datetime import datetime

from vlframe.config.moved import relocated
from vlframe.config.schema import RunConfig
from vlframe.config.typed import plain, read_yaml, to_yaml
from vlframe.errors import ConfigError
from vlframe.registry.registry import Registry
from vlframe.runs.changes import Change, differences, judged
from vlframe.runs.checkpoint import Checkpoint, checkpoints
from vlframe.runs.folder import RunFolder, write_text
from vlframe.runs.log import log
from vlframe.runs.places import located
from vlframe.runs.saved import checked


@dataclass(frozen=True)
class Resumption:
    """A resumed run, and how it differs from before."""

    folder: RunFolder
    config: RunConfig  # to continue with
    before: RunConfig  # used so far
    reached: Checkpoint | None
    changes: list[Change]
    allowed: bool

    def record(self) -> None:
        """Update the config in the folder and record the changes. If the process is killed here, the next
        resume judges them again.
        """
        text = to_yaml(self.config)
        name = self.reached.path.name if self.reached else "start"
        if self.changes:
            earlier = self.folder.path / f"config-until-{name}.yaml"
            if not earlier.exists():
                write_text(earlier, to_yaml(self.before))
            row = {
                "time": f"{datetime.now():%Y-%m-%d %H:%M:%S}",
                "checkpoint": name,
                "allowed": self.allowed,
                "changes": {item.key: [item.old, item.new] for item in self.changes},
                "config_sha256": _hash(text),
            }
            lines = self.folder.changes.read_text(encoding="utf-8") if self.folder.changes.is_file() else ""
            write_text(self.folder.changes, lines + json.dumps(row, ensure_ascii=False) + "\n")
        if self.changes or read_yaml(self.folder.config) != plain(self.config):
            write_text(self.folder.config, text)

    def announce(self) -> None:
        """Log the changed keys."""
        for item in self.changes:
            log.info("changed: %s", item)


def resumption(asked: RunConfig, registry: Registry) -> Resumption:
    """Compare the requested config (``resume`` set) with the run's; ConfigError for changes it cannot take."""
    assert asked.resume is not None
    folder = RunFolder.open(asked.resume)
    saved = checked(read_yaml(folder.config), registry)
    allowed = asked.resume_changes == "allow"
    config = located(replace(asked, resume=None, resume_changes="refuse"), registry)
    found = checkpoints(folder)
    reached = found[-1] if found else None
    before = located(_what_ran(folder, saved, reached, registry), registry)  # older runs saved relative paths
    there = relocated({**plain(before), "moved": {**before.moved, **config.moved}})
    changes = judged({**there, "moved": dict(before.moved)}, plain(config), reached)
    edited = {item.key for item in differences(plain(before), plain(saved))}
    _refuse(folder, reached, changes, allowed, edited)
    return Resumption(folder, config, before, reached, changes, allowed)


def _what_ran(folder: RunFolder, saved: RunConfig, reached: Checkpoint | None, registry: Registry) -> RunConfig:
    """Return the config of the newest checkpoint, since config.yaml may have been edited by hand; a config.yaml written
    by a recorded change is used directly.
    """
    if reached is None or not (reached.path / "config.yaml").is_file():
        return saved
    if _recorded(folder) == _hash(folder.config.read_text(encoding="utf-8")):
        return saved
    return checked(read_yaml(reached.path / "config.yaml"), registry)


def _recorded(folder: RunFolder) -> str | None:
    """Return the hash of the config after the last recorded change."""
    if not folder.changes.is_file():
        return None
    try:
        return str(json.loads(folder.changes.read_text(encoding="utf-8").splitlines()[-1])["config_sha256"])
    except (ValueError, LookupError, TypeError) as error:
        raise ConfigError(
            f"{folder.changes} is not as vlframe wrote it ({error!r}); remove it, and config.yaml is compared with the "
            f"newest checkpoint's"
        ) from error


def _refuse(
    folder: RunFolder, reached: Checkpoint | None, changes: list[Change], allowed: bool, edited: set[str]
) -> None:
    forbidden = [item for item in changes if item.verdict == "forbidden"]
    unpermitted = [] if allowed else [item for item in changes if item.verdict == "needs_permission"]
    if not forbidden and not unpermitted:
        return
    sentences = [f"{item} is not possible: {item.why}" for item in forbidden]
    if unpermitted:
        keys = "; ".join(str(item) for item in unpermitted)
        sentences.append(
            f"{keys} would change what the run computes. Leave that out; or say resume_changes=allow to go on with it "
            f"from here; or begin a new run (init.run={folder.path} takes the weights)"
        )
    if edited & {item.key for item in [*forbidden, *unpermitted]}:
        sentences.append("config.yaml in the folder was edited; what the run did is in the checkpoint's config.yaml")
    assert reached is not None
    raise ConfigError(
        f"{folder.path} is at {reached.path.name}, and some of the requested changes are not possible. "
        f"{'. '.join(sentences)}"
    )


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
