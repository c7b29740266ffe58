"""``vlframe evaluate``: score a run's newest checkpoint and write what came out into its folder."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from vlframe.data.sample import TAGS
from vlframe.data.skips import SkipLog
from vlframe.errors import ConfigError, DataError
from vlframe.evaluation.evaluate import ask, metrics
from vlframe.evaluation.wandb_table import log_predictions
from vlframe.runs.changes import differences
from vlframe.runs.checkpoint import checkpoints
from vlframe.runs.folder import RunFolder, write_json, write_text
from vlframe.runs.log import log, log_to
from vlframe.runs.ranks import place
from vlframe.runs.session import Session, checked, load_run
from vlframe.table import render

if TYPE_CHECKING:
    from vlframe.contracts import Benchmark
    from vlframe.registry import Registry


def evaluate_command(config: DictConfig, registry: Registry) -> dict[str, Any]:
    """Load a run, change what the command line changes about its evaluation, and score it.

    Scores under another config than the run's own get a folder of their own in it: they would take the place of others
    that say something else.
    """
    changes: dict[str, Any] = {"evaluation": config.evaluation, "media": config.media, "trainer": config.trainer}
    if config.benchmark is not None:
        changes["benchmark"] = _other_benchmark(config)
    session, folder = load_run(config.run, registry, changes)
    if session.config.benchmark is None:
        raise ConfigError(
            f"the run {config.run} has no benchmark; choose one of {', '.join(registry.names('benchmark'))} "
            f"(benchmark=exact_match_file benchmark.dataset.path=…)"
        )
    own = checked(folder.read_config(), {}, registry)
    changed = differences(OmegaConf.to_container(own), OmegaConf.to_container(session.config))
    out = folder.evaluation(session.config, registry) if changed else folder
    with log_to(out):
        scores = evaluate_session(session, folder, out=out)
        log.info("written: %s", out.metrics_json)
    return scores


def _other_benchmark(config: DictConfig) -> DictConfig:
    """One that is chosen by name replaces the run's own, and asks its questions where it is given none. Keys without
    a name change the run's own."""
    own = RunFolder.open(config.run).read_config().get("benchmark")
    new = config.benchmark
    if "name" not in new:
        if own is None:
            raise ConfigError(f"the run {config.run} has no benchmark to change; choose one with benchmark=<name>")
        return OmegaConf.merge(own, new)
    if OmegaConf.is_missing(new, "dataset") and own is not None:
        new.dataset = own.dataset
    return new


def evaluate_session(
    session: Session, folder: RunFolder, loggers: Sequence[Any] = (), *, out: RunFolder | None = None
) -> dict[str, Any]:
    """Ask every question (once more without media where the config wants a blind run); write (to ``out``, or the
    run's own ``folder``) and print the scores.

    Ranks that are there share the questions. All of them call this, and the first writes and prints.
    """
    settings = session.config.evaluation
    out = out or folder
    benchmark = build_benchmark(session)
    first = place()[0] == 0
    skips = SkipLog(out.quarantine if first else None)
    seeing = ask(session, benchmark, skips, batch_size=settings.batch_size)
    blind = None
    if settings.blind:
        blind = ask(session, benchmark, SkipLog(), batch_size=settings.batch_size, withhold=list(TAGS))
    if not first:
        return {}
    scores = metrics(seeing, blind, skips.counts) | cost(session, folder)
    write_json(out.metrics_json, scores)
    lines = [json.dumps(item.row(), ensure_ascii=False) + "\n" for item in seeing.predictions]
    write_text(out.predictions, "".join(lines))
    log.info("%s", score_table(scores))
    log.info("%s", skips)
    for logger in loggers:
        logger.log_metrics({f"eval/{key}": value for key, value in scores.items()}, step=total_steps(folder))
    log_predictions(loggers, seeing.predictions, settings.media_in_tables)
    return scores


def cost(session: Session, folder: RunFolder) -> dict[str, float | int]:
    """What the scores were had for: tokens, parameters, seconds of training."""
    ends = {item.stage: item.seconds for item in checkpoints(folder)}  # the last of each stage
    sizes = {name: sum(p.numel() for p in part.parameters()) for name, part in session.model.parts.items()}
    return {
        "tokens_per_clip": session.plan.tokens("video", session.plan.frames),
        "parameters": sum(sizes.values()),
        **{f"parameters/{name}": count for name, count in sizes.items()},
        "train_seconds": sum(ends.values()),
    }


def build_benchmark(session: Session) -> Benchmark:
    config = session.config.benchmark
    registry = session.registry
    if OmegaConf.is_missing(config, "dataset") or config.get("dataset") is None:
        raise ConfigError(
            f"benchmark {config.name!r} has no questions; choose a dataset for it "
            f"(+dataset@benchmark.dataset=…, one of {', '.join(registry.names('dataset'))})"
        )
    built = registry.build("benchmark", config, dataset=registry.build("dataset", config.dataset))
    twins = [name for name, count in Counter(sample.id for sample in built.samples).items() if count > 1]
    if twins:
        raise DataError(
            f"{len(twins)} id(s) of the benchmark's questions are not their own ({', '.join(twins[:3])}); answers are "
            f"told apart by id: give each question another"
        )
    return built


def score_table(scores: dict[str, Any]) -> str:
    """The scores by category, with the whole in the last line. ``n`` is answered / asked."""
    names = [key.removeprefix("n_asked/") for key in scores if key.startswith("n_asked/")]
    rows = [
        {
            "category": name,
            "accuracy": scores.get(f"accuracy/{name}"),
            "95 %": None,
            "n": f"{scores[f'n/{name}']}/{scores[f'n_asked/{name}']}",
            "unparsed": scores[f"unparsed/{name}"],
            "chance": scores.get(f"chance/{name}"),
            "blind": scores.get(f"blind_accuracy/{name}"),
        }
        for name in names
    ]
    interval = f"{scores['accuracy_low']:.3f}-{scores['accuracy_high']:.3f}"
    whole = {
        "category": "all",
        "accuracy": scores.get("accuracy"),
        "95 %": interval,
        "n": f"{scores['n']}/{scores['n_asked']}",
        "unparsed": scores["unparsed"],
        "chance": scores.get("chance"),
        "blind": scores.get("blind_accuracy"),
    }
    columns = [key for key in whole if key != "blind" or "blind_accuracy" in scores]
    return render([*rows, whole], columns)


def total_steps(folder: RunFolder) -> int:
    """Optimizer steps of the run so far, by its checkpoints: a stage may be counted in epochs."""
    return sum({item.stage: item.step for item in checkpoints(folder)}.values())  # the last of each stage
