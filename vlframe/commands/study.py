"""``vlframe study``: one file for many runs, planned, run in any number of processes, and compared."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlframe.errors import ConfigError, UserError, did_you_mean

if TYPE_CHECKING:
    from vlframe.registry.registry import Registry
    from vlframe.reports.report import Limits
    from vlframe.studies.resolved import Planned
    from vlframe.studies.results import StudyResults
    from vlframe.studies.study import Study

USAGE = (
    ("study plan study.yaml", "the cells of a study: do they fit, tokens, parameters, predicted cost"),
    ("study run study.yaml", "run what is not done; the same command again goes on"),
    ("study show study.yaml", "scores, differences to the baseline with verdicts"),
    ("study report study.yaml", "tables, figures, and a page with clips beside answers, which opens offline"),
)
HELP = """\
vlframe study plan|run|show|report|wandb-sweep <study.yaml> [key=value …]

  vlframe study plan study.yaml device=h100        do the cells fit; tokens, parameters, predicted cost; format=json
  vlframe study run study.yaml                     every cell with every seed; again: go on. In several shells, or on
                                                   several machines that share the folder: each takes what is left
  vlframe study run study.yaml --fail-fast         begin no other cell once one has failed
  vlframe study run study.yaml --retry             run failed cells again, too
  vlframe study run study.yaml 'cell=large 8f' seed=1       only this cell
  vlframe study run study.yaml hydra/launcher=joblib hydra.launcher.n_jobs=2
  vlframe study show study.yaml format=table|markdown|csv|json
  vlframe study report study.yaml                  report/ in its folder: README.md, table.csv, table.tex, figures,
                                                   index.html; at most questions=200 with media_mb=64 of clips
  vlframe study wandb-sweep study.yaml             the YAML of a sweep whose agents run the cells

Keys of runs that change nothing that is computed (trainer.accelerator, loader.workers, logger, …) may be given to
run and plan. plugins.paths=[…] names plugins in single files. The keys of the file are in docs/studies.md. Exit code:
0, or 2 if something is not done.
"""
ACTIONS = ("plan", "run", "show", "report", "wandb-sweep")
FORMATS = ("table", "markdown", "csv", "json")
OWN = {
    "plan": ("device", "format"), "run": ("cell", "seed"), "show": ("format",), "report": ("questions", "media_mb"),
    "wandb-sweep": (),
}  # fmt: skip
FLAGS = {"run": ("--fail-fast", "--retry")}


@dataclass(frozen=True)
class Asked:
    """What was typed: the action, its file, its own keys and flags, and words for the runs and for the launcher."""

    action: str
    file: Path
    own: dict[str, str]
    flags: tuple[str, ...]
    launcher: tuple[str, ...]
    plugins: tuple[str, ...]
    more: tuple[str, ...]


def main(words: list[str]) -> int:
    if not words or "--help" in words or "-h" in words:
        print(HELP, end="")
        return 0 if words else 2
    asked = _asked(words)
    from vlframe.studies.study import read_study

    study = read_study(asked.file)
    if asked.action == "wandb-sweep":
        from vlframe.studies.wandb_sweep import wandb_sweep

        print(wandb_sweep(study), end="")
        return 0
    limits = _limits(asked.own) if asked.action == "report" else None
    from vlframe.composer.command_line import parse
    from vlframe.composer.offer import open_registry
    from vlframe.studies.resolved import resolved

    line = parse("study", (*asked.plugins, *asked.more))  # a word that cannot be read is no cell's fault
    registry = open_registry(line.plugin_paths, line.strict)
    planned = resolved(study, registry, (*asked.plugins, *asked.more))
    if asked.action == "plan":
        print(plan_text(study, planned, registry, asked.own))
    elif asked.action == "show":
        print(results_text(study, planned, asked.own.get("format", "table")))
    elif limits is not None:
        from vlframe.reports.report import write_report

        folder = write_report(study, planned, limits)
        print(f"{folder / 'index.html'}\nbeside it: {', '.join(sorted(item.name for item in folder.iterdir()))}")
    else:
        _run(study, planned, registry, asked, line.plugin_paths)
    return 0


def plan_text(study: Study, planned: Sequence[Planned], registry: Registry, own: dict[str, str]) -> str:
    """Return the plan as a table, or as JSON."""
    from vlframe.distributed.devices import device_here, device_named
    from vlframe.studies.plan import plan_study, shown_plan

    form = _format(own.get("format", "table"))
    device = device_named(own["device"]) if "device" in own else device_here()
    plan = plan_study(study, planned, registry, device)
    if form == "json":
        return json.dumps(plan.as_data(), indent=1, ensure_ascii=False)
    return _written(shown_plan(plan), form, plan.notes)


def results_text(study: Study, planned: Sequence[Planned], form: str) -> str:
    """Return the results as a table, CSV or JSON."""
    from vlframe.studies.results import study_results
    from vlframe.studies.table import flat_results, shown_results

    results = study_results(study, planned)
    if _format(form) == "json":
        return json.dumps(results.as_data(), indent=1, ensure_ascii=False)
    rows = flat_results(results) if form == "csv" else shown_results(results)
    return _written(rows, form, results.notes)


def _run(
    study: Study, planned: Sequence[Planned], registry: Registry, asked: Asked, paths: tuple[str, ...]
) -> StudyResults:
    """Run, and show and write what there is, also where cells failed."""
    from vlframe.studies.results import study_results, write_results
    from vlframe.studies.run import RunSettings, run_study
    from vlframe.studies.table import shown_results

    settings = RunSettings(asked.launcher, paths, "--fail-fast" in asked.flags, "--retry" in asked.flags)
    problem: UserError | None = None
    try:
        run_study(study, _chosen(study, planned, asked.own), registry, settings)
    except UserError as error:
        problem = error
    results = study_results(study, planned)
    write_results(results, study.folder / "results.json")
    print(f"\n{_written(shown_results(results), 'table', results.notes)}\n\nagain: vlframe study show {study.file}")
    if problem is not None:
        raise problem
    return results


def _limits(own: dict[str, str]) -> Limits:
    """Return how much the page may contain. ConfigError: a library that draws is missing, or a value is no number."""
    from vlframe.reports.needs import need_libraries
    from vlframe.reports.report import Limits

    need_libraries()
    for name, value in own.items():
        if not value.isdigit():
            raise ConfigError(f"{name} is {value!r}; it is a number, like {name}={getattr(Limits, name)}")
    return Limits(**{name: int(value) for name, value in own.items()})


def _chosen(study: Study, planned: Sequence[Planned], own: dict[str, str]) -> list[Planned]:
    """Return the cells and seeds that ``cell=`` and ``seed=`` name."""
    labels, seeds = [cell.label for cell in study.cells], [str(seed) for seed in study.config.seeds]
    for name, known in (("cell", labels), ("seed", seeds)):
        if name in own and own[name] not in known:
            excluded = {item.label: item.reason for item in study.excluded}
            why = f"is excluded ({excluded[own[name]]})" if own[name] in excluded else "is none of the study's"
            raise ConfigError(f"{name}={own[name]} {why}; there are {', '.join(known)}{did_you_mean(own[name], known)}")
    return [item for item in planned if own.get("cell", item.cell.label) == item.cell.label
            and own.get("seed", str(item.seed)) == str(item.seed)]  # fmt: skip


def _asked(words: Sequence[str]) -> Asked:
    from vlframe.studies.digest import counts

    action, *rest = words
    if action not in ACTIONS:
        raise ConfigError(f"vlframe study does {', '.join(ACTIONS)}, and not {action!r}{did_you_mean(action, ACTIONS)}")
    flags = tuple(word for word in rest if word.startswith("-"))
    files = [word for word in rest if word not in flags and ("=" not in word or Path(word).is_file())]
    if len(files) != 1:
        raise ConfigError(f"vlframe study {action} takes one file, like study.yaml, and there are {len(files)}")
    if unknown := [flag for flag in flags if flag not in FLAGS.get(action, ())]:
        can = ", ".join(FLAGS.get(action, ())) or "none"
        raise ConfigError(f"vlframe study {action} has no option {unknown[0]}; it has {can}; see vlframe study --help")
    pairs = [word for word in rest if word not in flags and word not in files]
    keys = {word: word.partition("=")[0].lstrip("+~") for word in pairs}
    own = {key: word.partition("=")[2] for word, key in keys.items() if key in OWN[action]}
    launcher = [word for word, key in keys.items() if key.startswith(("hydra/launcher", "hydra.launcher."))]
    plugins = [word for word, key in keys.items() if key.startswith("plugins.")]
    more = [word for word, key in keys.items() if key not in own and word not in (*launcher, *plugins)]
    for word in more:
        key = keys[word]
        if key.startswith("hydra") or action in ("show", "report", "wandb-sweep") or counts(key.partition("@")[0]):
            raise ConfigError(
                f"{word!r} cannot be given to vlframe study {action}: it would change what is computed, or is no key "
                f"of it; put it into the file (base:, or an axis)"
            )
    return Asked(action, Path(files[0]), own, flags, tuple(launcher), tuple(plugins), tuple(more))


def _format(form: str) -> str:
    if form not in FORMATS:
        raise ConfigError(f"format is {form!r}; it can be {', '.join(FORMATS)}{did_you_mean(form, FORMATS)}")
    return form


def _written(rows: Sequence[dict[str, Any]], form: str, notes: Sequence[str]) -> str:
    from vlframe.table import markdown, render

    if form == "csv":
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue().rstrip("\n")
    table = (markdown if form == "markdown" else render)(rows)
    bullet = "* " if form == "markdown" else ""
    return "\n".join([table, "", *(f"{bullet}{note}" for note in notes)]).rstrip()
