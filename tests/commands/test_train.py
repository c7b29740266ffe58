"""What ``train`` returns: the metric that a sweeper optimizes."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from vlframe.commands.train import optimized_metric, train
from vlframe.config.schema import RunConfig
from vlframe.errors import ConfigError
from vlframe.evaluation.scores import Estimate, Evaluation, Scores, Tallies, Tally
from vlframe.runs.folder import RunFolder

QUIZ = {"name": "quiz"}


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path)
    run.metrics_csv.write_text("step,train/loss,other\n1,3.5,\n2,,1\n3,1.25,\n4,,2\n")
    estimates = {"f1": Estimate(0.75, 0.5, 0.9, 4, 0.75), "exact": Estimate(0.5, 0.1, 0.9, 4, 0.5)}
    tallies = Tallies(Tally(4, 4, 0, estimates), {"colour": Tally(2, 2, 0, {"f1": Estimate(0.5), "exact": Estimate()})})
    evaluation = Evaluation({"quiz": Scores(tallies, 1.0)}, "quiz")
    run.metrics_json.write_text(json.dumps(evaluation.flat()))
    run.scores.write_text(json.dumps(evaluation.tree()))
    return run


def test_a_score_or_the_last_loss(folder: RunFolder) -> None:
    config = RunConfig()
    assert optimized_metric(config, folder) == 1.25
    assert optimized_metric(replace(config, benchmark=QUIZ), folder) == 0.75
    assert optimized_metric(replace(config, benchmark=QUIZ, optimized_metric="f1/colour"), folder) == 0.5
    assert optimized_metric(replace(config, benchmark=QUIZ, optimized_metric="loss"), folder) == 1.25


def test_one_that_is_not_there_is_said(folder: RunFolder) -> None:
    config = RunConfig(benchmark=QUIZ, optimized_metric="cider")
    with pytest.raises(
        ConfigError, match=r"optimized_metric is 'cider'.*its scores are f1/colour, .*f1, f1_low, f1_high, exact"
    ):
        optimized_metric(config, folder)
    folder.metrics_json.unlink()
    folder.scores.unlink()
    with pytest.raises(ConfigError, match="stopped before the evaluation"):
        optimized_metric(config, folder)
    assert optimized_metric(replace(config, optimized_metric=None), folder) is None


def test_a_score_without_a_benchmark_is_refused_before_training(registry) -> None:
    with pytest.raises(ConfigError, match=r"optimized_metric is 'accuracy', a score.*choose a benchmark"):
        train(RunConfig(optimized_metric="accuracy"), registry)
