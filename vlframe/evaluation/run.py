"""Scores a pipeline on its benchmarks, and writes the results into the run's folder."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from vlframe.config.asking import main_benchmark
from vlframe.contracts.modalities import TAGS
from vlframe.distributed.ranks import place
from vlframe.errors import DataError
from vlframe.evaluation.controls import control_words
from vlframe.evaluation.evaluate import ask, beside, categories_quarantined
from vlframe.evaluation.questions import Questions, open_benchmarks
from vlframe.evaluation.scores import Cost, Estimate, Evaluation, Scores, Tally
from vlframe.evaluation.tally import scores_of
from vlframe.inference.pipeline import Pipeline
from vlframe.model.assemble import typical_tokens
from vlframe.runs.checkpoint import checkpoints
from vlframe.runs.folder import RunFolder, write_json, write_text
from vlframe.runs.log import log
from vlframe.runs.quarantine import QuarantineLog
from vlframe.runs.unlogged import Unlogged
from vlframe.table import render

if TYPE_CHECKING:
    from vlframe.evaluation.evaluate import Outcome, Prediction


class ScoreLogger(Protocol):
    """Receives evaluations, in addition to the files in the run's folder."""

    def log_scores(self, scores: Evaluation, step: int) -> None: ...
    def log_predictions(self, predictions: Sequence[Prediction], with_media: int, prefix: str) -> None: ...


def evaluate_pipeline(
    pipeline: Pipeline,
    folder: RunFolder,
    loggers: ScoreLogger | None = None,
    *,
    unlogged: Unlogged,
    out: RunFolder | None = None,
    opened: Sequence[Questions] | None = None,
) -> Evaluation | None:
    """Ask every question of every benchmark (again without media for a blind run); write the scores (to ``out``, or the
    run's own ``folder``) and print them. What cannot be written or logged is reported to ``unlogged``. ``opened`` are
    the pipeline's own benchmarks, if they are already open.

    All ranks call this and share the questions; the first writes, prints and returns the scores, the others return
    None.
    """
    out = out or folder
    first = place()[0] == 0
    main = main_benchmark(pipeline.config)
    scores: dict[str, Scores] = {}
    lines: list[str] = []
    lacking: list[str] = []
    for questions in open_benchmarks(pipeline) if opened is None else opened:
        quarantine = QuarantineLog(out.quarantine if first else None, unlogged)
        seeing, blind = _asked(questions, quarantine, out if first else None, lines, unlogged)
        limit = questions.pipeline.config.media.max_bad_share
        lacking += filter(None, [categories_quarantined(seeing, questions.name, quarantine, limit)])
        if not first:
            continue
        scores[questions.name] = scores_of(seeing, blind, quarantine.counts, cost(questions.pipeline, folder))
        evaluation = Evaluation(scores, main)
        for file, values in ((out.scores, evaluation.tree()), (out.metrics_json, evaluation.flat())):
            with unlogged.kept(file.name):
                write_json(file, values)
        log.info("%s%s", f"{questions.name}\n" if questions.prefix else "", score_table(scores[questions.name]))
        for control, found in scores[questions.name].controls.items():
            log.info("%s", control_words(control, found))
        log.info("%s", quarantine)
        if seeing.notes.noted:
            log.info("benchmark %s: %s", questions.name, seeing.notes)
        if loggers is not None:
            loggers.log_predictions(seeing.predictions, pipeline.config.evaluation.media_in_tables, questions.prefix)
    if first and loggers is not None:
        loggers.log_scores(evaluation, total_steps(folder))
    if lacking:  # all answers are written
        raise DataError("; ".join(lacking))
    return evaluation if first else None


def _asked(
    questions: Questions, quarantine: QuarantineLog, out: RunFolder | None, lines: list[str], unlogged: Unlogged
) -> tuple[Outcome, Outcome | None]:
    """Ask one benchmark's questions, with media and, if configured, without. The predictions are written, after the
    ``lines`` of earlier benchmarks, before anything else can fail.
    """
    settings = questions.pipeline.config.evaluation
    seeing = ask(questions, quarantine, batch_size=settings.batch_size, controls=settings.controls)
    blind = None
    if settings.blind:
        blind = ask(questions, QuarantineLog(), batch_size=settings.batch_size, withhold=list(TAGS))
        seeing = beside(seeing, blind)
    if out is not None:
        lines += [json.dumps(item.row(), ensure_ascii=False) + "\n" for item in seeing.predictions]
        with unlogged.kept(out.predictions.name):
            write_text(out.predictions, "".join(lines))
    return seeing, blind


def scores_in_training(opened: Sequence[Questions]) -> Evaluation:
    """Return the current model's scores; nothing is written or printed. All ranks call this, and get the same."""
    scores: dict[str, Scores] = {}
    for questions in opened:
        quarantine = QuarantineLog()
        outcome = ask(questions, quarantine, batch_size=questions.pipeline.config.evaluation.batch_size)
        limit = questions.pipeline.config.media.max_bad_share
        if lacking := categories_quarantined(outcome, questions.name, quarantine, limit):
            raise DataError(lacking)
        scores[questions.name] = scores_of(outcome, None, quarantine.counts)
    return Evaluation(scores, main_benchmark(opened[0].pipeline.config))


def cost(pipeline: Pipeline, folder: RunFolder) -> Cost:
    """Return the training cost and model size behind the scores: tokens, parameters, seconds of training."""
    ends = {item.stage: item.seconds for item in checkpoints(folder)}  # the last of each stage
    return Cost(
        tokens_per_clip=typical_tokens(pipeline.budget, "video", pipeline.budget.frames),
        parameters={name: sum(p.numel() for p in part.parameters()) for name, part in pipeline.model.parts.items()},
        train_seconds=sum(ends.values()),
    )


def score_table(scores: Scores) -> str:
    """Tabulate the scores by category, the total in the last line. ``n`` is questions put to the model / asked.

    The last columns are the same model without media: how many of its texts were parsed, the primary score among these
    (compare with chance), and that of all texts, with unparsed ones counted as the worst value.
    """
    blind = dict(scores.blind.named()) if scores.blind else {}
    rows = [_table_row(name, item, blind.get(name)) for name, item in scores.seeing.named()]
    return render(rows)


def _table_row(name: str, item: Tally, blind: Tally | None) -> dict[str, Any]:
    row: dict[str, Any] = {"category": name or "all"}
    for number, (metric, estimate) in enumerate(item.metrics.items()):
        row |= {metric: estimate.value, f"{metric} 95 %" if number else "95 %": _borders(estimate)}
    row |= {"n": f"{item.n}/{item.asked}", "unparsed": item.unparsed, "chance": item.chance}
    if blind is not None:
        primary = next(iter(blind.metrics))
        row["blind answered"] = blind.answered
        row[f"blind {primary} of these"] = blind.primary.answered
        row["of all"] = blind.primary.value
    return row


def _borders(estimate: Estimate) -> str | None:
    return None if math.isnan(estimate.low) else f"{estimate.low:.3f}-{estimate.high:.3f}"


def total_steps(folder: RunFolder) -> int:
    """Return the run's optimizer steps so far, by its checkpoints: a stage may be counted in epochs."""
    return sum({item.stage: item.step for item in checkpoints(folder)}.values())  # the last of each stage
