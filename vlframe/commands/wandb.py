"""``vlframe wandb push``: runs on Weights & Biases, built from what vlframe recorded."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vlframe.errors import ConfigError, OutputError, did_you_mean, some_of

if TYPE_CHECKING:
    from vlframe.studies.wandb_push import Pushed

USAGE = (("wandb push runs/studies/<name>", "runs on Weights & Biases from what was recorded, also offline"),)
HELP = """\
vlframe wandb push <run, sweep, study or folder> … [project=vlframe] [entity=<yours>] [mode=online|offline]

  vlframe wandb push study.yaml                        every run of a study; so does its folder, runs/studies/<name>
  vlframe wandb push runs/sweeps/<time> project=mine   the jobs of a sweep (-m)
  vlframe wandb push runs/mine/<id> mode=offline       one run, to files in its folder; `wandb sync` sends them

A run on W&B has the scalars of metrics.csv, the scores with their intervals, the predictions with media, the config
and how it ended. Its id is the digest of config and seed: pushing again updates it, and does nothing where nothing
has changed. Runs that are pushed together all have every key of the config. Without project, entity and mode,
WANDB_PROJECT, WANDB_ENTITY and WANDB_MODE count. Exit code: 0, 3 if something of a run could not be pushed, or 2.
"""
KEYS = ("project", "entity", "mode")
MODES = ("online", "offline")


def main(words: list[str]) -> int:
    if not words or "--help" in words or "-h" in words:
        print(HELP, end="")
        return 0 if words else 2
    action, *rest = words
    if action != "push":
        raise ConfigError(f"vlframe wandb does push, and not {action!r}; see vlframe wandb --help")
    paths = [word for word in rest if "=" not in word or word.startswith("/") or Path(word).exists()]
    given = _given([word for word in rest if word not in paths])
    if flags := [path for path in paths if path.startswith("-")]:
        raise ConfigError(f"vlframe wandb push has no option {flags[0]}; it has {', '.join(KEYS)}")
    if not paths:
        raise ConfigError("vlframe wandb push needs run folders, a sweep or a study, like runs/quickstart")
    show(push(paths, **given))
    return 0


def push(
    paths: Sequence[str | Path], project: str | None = None, entity: str | None = None, mode: str | None = None
) -> Pushed:
    """Push what is in these folders. ConfigError, before anything is done: nothing is there, or W&B needs a login."""
    from vlframe.studies.wandb_push import push_runs, target

    return push_runs(paths, target(project, entity, mode))


def show(pushed: Pushed) -> None:
    """Say what was done. OutputError: something could not be pushed."""
    for line in pushed.notes:
        print(line)
    for line in pushed.problems:
        print(line, file=sys.stderr)
    done, same = len(pushed.done), len(pushed.unchanged)
    print(f"{done} run(s) pushed to {pushed.where}; {same} unchanged since they were pushed, and left as they are")
    if pushed.files:
        print(f"to send: wandb sync {some_of([str(path) for path in pushed.files], 8, ' ')}")
    if pushed.problems:
        raise OutputError(f"{len(pushed.problems)} thing(s) could not be pushed, and are said above; all else was")


def _given(words: Sequence[str]) -> dict[str, str]:
    given = {}
    for word in words:
        key, _, value = word.partition("=")
        if key not in KEYS:
            raise ConfigError(f"vlframe wandb push knows {', '.join(KEYS)}, not {key!r}{did_you_mean(key, KEYS)}")
        if not value:
            raise ConfigError(f"{word} has no value; leave {key} out, or give it one")
        given[key] = value
    if given.get("mode", MODES[0]) not in MODES:
        raise ConfigError(
            f"mode is {given['mode']!r}; it can be {', '.join(MODES)}{did_you_mean(given['mode'], MODES)}"
        )
    return given
