"""``vlframe wandb push``: runs on Weights & Biases, built from what vlframe recorded."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vlframe.errors import ConfigError, OutputError, did_you_mean, some_of

if TYPE_CHECKING:
    from vlframe.reports.wandb_views import Spec
    from vlframe.studies.study import Study
    from vlframe.studies.wandb_push import Pushed

USAGE = (("wandb push runs/studies/<name>", "runs on Weights & Biases from what was recorded, also offline"),)
HELP = """\
vlframe wandb push <run, sweep, study or folder> … [project=vlframe] [entity=<yours>] [mode=online|offline]

  vlframe wandb push study.yaml                        every run of a study; so does its folder, runs/studies/<name>
  vlframe wandb push runs/sweeps/<time> project=mine   the jobs of a sweep (-m)
  vlframe wandb push runs/mine/<id> mode=offline       one run, to files in its folder; `wandb sync` sends them
  vlframe wandb push study.yaml --workspace --report   and a saved view, and a report with the study's text, which need
                                                       a login; what is in them is written to wandb/ in its folder

A run on W&B has the scalars of metrics.csv, the scores with their intervals, the predictions with media, the config
and how it ended. Its id is the digest of config and seed: pushing again updates it, and does nothing where nothing
has changed. Runs that are pushed together all have every key of the config. Without project, entity and mode,
WANDB_PROJECT, WANDB_ENTITY and WANDB_MODE count. Exit code: 0, 3 if something of a run could not be pushed, or 2.
"""
KEYS = ("project", "entity", "mode")
MODES = ("online", "offline")
FLAGS = ("--workspace", "--report")


def main(words: list[str]) -> int:
    if not words or "--help" in words or "-h" in words:
        print(HELP, end="")
        return 0 if words else 2
    action, *rest = words
    if action != "push":
        raise ConfigError(f"vlframe wandb does push, and not {action!r}; see vlframe wandb --help")
    flags = [word for word in rest if word.startswith("-")]
    words = [word for word in rest if word not in flags]
    paths = [word for word in words if "=" not in word or word.startswith("/") or Path(word).exists()]
    given = _given([word for word in words if word not in paths])
    if unknown := [flag for flag in flags if flag not in FLAGS]:
        raise ConfigError(f"vlframe wandb push has no option {unknown[0]}; it has {', '.join((*KEYS, *FLAGS))}")
    if not paths:
        raise ConfigError("vlframe wandb push needs run folders, a sweep or a study, like runs/quickstart")
    show(push(paths, **given, views=[flag.removeprefix("--") for flag in FLAGS if flag in flags]))
    return 0


def push(
    paths: Sequence[str | Path], project: str | None = None, entity: str | None = None, mode: str | None = None,
    views: Sequence[str] = (),
) -> Pushed:  # fmt: skip
    """Push what is in these folders. ``views``: ``workspace``, ``report``, of a study. ConfigError, before anything is
    done: nothing is there, or W&B needs a login.
    """
    from vlframe.studies.wandb_push import push_runs, target

    where = target(project, entity, mode)
    if not views:
        return push_runs(paths, where)
    from vlframe.reports.wandb_saved import need_workspaces, save_views

    need_workspaces()
    study = _only_study(paths, views)
    specs = _specs(study, views)
    if where.offline:
        print(f"{' and '.join(views)}: saving needs W&B online and a login; offline, what is in them is only written")
    pushed = push_runs(paths, where)
    notes, problems = save_views(study.folder, specs, where)
    pushed.notes += notes
    pushed.problems += problems
    return pushed


def _only_study(paths: Sequence[str | Path], views: Sequence[str]) -> Study:
    from vlframe.studies.study import read_study

    if len(paths) != 1 or not Path(paths[0]).is_file():
        raise ConfigError(
            f"--{views[0]} is of one study: give its file, like vlframe wandb push study.yaml --{views[0]}, and not "
            f"{some_of([str(path) for path in paths])}"
        )
    return read_study(Path(paths[0]))


def _specs(study: Study, views: Sequence[str]) -> list[Spec]:
    """Return what is to be in a study's views. ConfigError: no run of it is done."""
    from vlframe.composer.command_line import parse
    from vlframe.composer.offer import open_registry
    from vlframe.reports.front import front, front_words
    from vlframe.reports.report import report_text
    from vlframe.reports.wandb_views import report_spec, workspace_spec
    from vlframe.studies.ledger import entries
    from vlframe.studies.resolved import resolved
    from vlframe.studies.results import study_results

    last = entries(study.folder)[-1:]  # its runs were made with the same plugins
    plugins = [word for entry in last for word in entry.identity.get("words", ()) if word.startswith("plugins.")]
    line = parse("study", plugins)
    results = study_results(study, resolved(study, open_registry(line.plugin_paths, line.strict)))
    if not results.metrics:
        raise ConfigError(f"no run of {study.file} is done, so a view of it shows nothing; vlframe study run "
                          f"{study.file}")  # fmt: skip
    axes, group = list(study.config.axes), study.folder.name
    made = {
        "workspace": lambda: workspace_spec(results, axes, group),
        "report": lambda: report_spec(
            results, axes, group, report_text(results, front_words(front(results, results.metrics[0])))
        ),
    }
    return [made[view]() for view in views]


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
