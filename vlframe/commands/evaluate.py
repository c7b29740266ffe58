"""``vlframe evaluate``: score a run's newest checkpoint again, or another one, or under other settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vlframe.config.fields import MISSING
from vlframe.errors import ConfigError

if TYPE_CHECKING:
    from vlframe.config.schema import EvaluateConfig, RunConfig
    from vlframe.evaluation.scores import Evaluation
    from vlframe.registry.registry import Registry

USAGE = (("evaluate run=runs/quickstart/<id>", "score a run again"),)


def main(words: list[str]) -> int:
    from vlframe.commands.compare import show_sweep
    from vlframe.composer.command_line import parse
    from vlframe.composer.jobs import run_jobs

    run_jobs("evaluate", "vlframe.commands.evaluate:evaluate", parse("evaluate", words), after_sweep=show_sweep)
    return 0


def evaluate(config: EvaluateConfig, registry: Registry) -> Evaluation:
    """Load a run, apply the command line's changes to its evaluation, score it, and return the scores.

    Scores under changed settings, or of another checkpoint than the newest, get a folder of their own inside the run,
    so that they do not overwrite its own scores.
    """
    from dataclasses import replace

    from vlframe.config.asking import benchmarks_of
    from vlframe.config.typed import plain, read_yaml
    from vlframe.evaluation.run import evaluate_pipeline
    from vlframe.inference.pipeline import load_run, pick_device
    from vlframe.model.assemble import compose_on_meta
    from vlframe.runs.changes import differences
    from vlframe.runs.folder import RunFolder
    from vlframe.runs.log import log, log_to
    from vlframe.runs.places import absolute_paths
    from vlframe.runs.saved import checked
    from vlframe.runs.sweep import note_run
    from vlframe.runs.unlogged import Unlogged
    from vlframe.training.joined import JoinedLoggers
    from vlframe.training.loggers import check_loggers, facts

    moved = absolute_paths({"moved": config.moved})
    own = checked(read_yaml(RunFolder.open(config.run).config), registry, moved)
    changes = {"evaluation": config.evaluation, "media": config.media, "trainer": config.trainer, **moved}
    if config.benchmark is not None or config.benchmarks:
        changes |= absolute_paths(_other_benchmarks(config, own))
    pipeline, folder = load_run(config.run, registry, changes, config.checkpoint)
    if not benchmarks_of(pipeline.config):
        raise ConfigError(
            f"the run {config.run} has no benchmark; choose one of {', '.join(registry.names('benchmark'))} "
            f"(benchmark=<name>, with its keys: benchmark.<key>=…; several: benchmarks.<a name of yours>=<name>)"
        )
    pick_device(pipeline)  # one that is not here leaves no folder
    check_loggers(config.logger, registry)
    changed = {item.key: item.new for item in differences(plain(own), plain(pipeline.config))}
    if config.checkpoint != "newest":
        changed["checkpoint"] = config.checkpoint
    out = folder.evaluation(pipeline.config, registry) if changed else folder
    note_run(config.sweep, out)
    unlogged = Unlogged()
    with log_to(out):
        loggers = None
        if config.logger:
            # The run's own: what is changed here must not stand as a fact of the run.
            budget = compose_on_meta(own, registry).budget if changed else pipeline.budget
            own = replace(own, logger=config.logger)
            loggers = JoinedLoggers(
                own, registry, folder, unlogged, facts(own, budget), name=out.path.name, changes=changed
            )
        try:
            scores = evaluate_pipeline(pipeline, folder, loggers, out=out, unlogged=unlogged)
        finally:
            if loggers is not None:
                loggers.leave()
        log.info("written: %s", out.metrics_json)
    unlogged.check(out.path)
    assert scores is not None, "a single process is rank 0"
    return scores


def _other_benchmarks(config: EvaluateConfig, run: RunConfig) -> dict[str, Any]:
    """Return the new values of the run's keys ``benchmark`` and ``benchmarks``. Benchmarks chosen by name replace all
    others; keys without a name change the run's own.
    """
    given = {"benchmark": config.benchmark, **{f"benchmarks.{name}": new for name, new in config.benchmarks.items()}}
    own = {"benchmark": run.benchmark, **{f"benchmarks.{name}": old for name, old in run.benchmarks.items()}}
    anew = any(new is not None and "name" in new for new in given.values())
    asked: dict[str, Any] = dict.fromkeys(own, None) if anew else dict(own)
    for place, new in given.items():
        if new is not None:
            asked[place] = _other_benchmark(place, new, own.get(place), config, run)
        elif place != "benchmark":
            asked[place] = None
    others = {place.partition(".")[2]: chosen for place, chosen in asked.items() if place != "benchmark"}
    return {"benchmark": asked["benchmark"], "benchmarks": others}


def _other_benchmark(place: str, new: Any, own: Any, config: EvaluateConfig, run: RunConfig) -> dict[str, Any]:
    """Return the config of one benchmark. One chosen by name replaces the run's own at that place, and without
    questions of its own uses that benchmark's (or those of the run's ``benchmark``).
    """
    from vlframe.config.typed import laid_over

    new = dict(new)
    if "name" not in new:
        if own is None:
            raise ConfigError(f"the run {config.run} has no {place} to change; choose one with {place}=<name>")
        return laid_over(own, new)
    questions = own if own is not None else run.benchmark
    if new.get("dataset") == MISSING and questions is not None:
        new["dataset"] = questions.get("dataset")
    return new
