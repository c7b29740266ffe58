"""Evaluations in the middle of a stage: they measure what they say, move nothing, and are resumed exactly."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch
from helpers.runs import manifest, training, weights

from vlframe.composer.compose import compose, open_registry
from vlframe.errors import ConfigError, WeightsError
from vlframe.inference.pipeline import load_run
from vlframe.runs.changes import judged
from vlframe.runs.checkpoint import Checkpoint, best_of_stages, checkpoints, chosen, latest
from vlframe.runs.folder import RunFolder
from vlframe.training.run import train
from vlframe.training.standing import LOSS, Standing
from vlframe.training.validation import Validation, batches_of_rank

DROPOUT = ["stages.main.llm.train=lora", "stages.main.llm.lora.dropout=0.1", "stages.main.llm.lora.rank=4"]


def run_here(folder: Path, *arguments: str) -> RunFolder:
    registry = open_registry()
    return train(compose("train", [*arguments, f"runs={folder / 'runs'}"], registry), registry)


def rows(folder: RunFolder) -> dict[int, dict[str, str]]:
    with open(folder.metrics_csv, newline="") as file:
        return {int(row["step"]): row for row in csv.DictReader(file)}


def validated(folder: Path, *more: str) -> list[str]:
    """Words of a run whose validation data are the rows that it is trained on."""
    file = manifest(folder)
    return training(file, "validation.dataset=conversations", f"validation.dataset.path={file}", *more)


def asked(folder: Path) -> list[str]:
    return ["benchmark=exact_match_file", f"benchmark.dataset.path={folder / 'text.jsonl'}"]


def equal(one: RunFolder, two: RunFolder) -> bool:
    ours, theirs = weights(one), weights(two)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_an_evaluation_moves_nothing_and_says_what_it_measured(tmp_path: Path) -> None:
    """With dropout on, a run that is evaluated in its middle ends where one does that is not, bit for bit."""
    words = [*DROPOUT, "stages.main.accumulate_grad_batches=2", "stages.main.steps=5"]
    quiet = run_here(tmp_path / "quiet", *training(manifest(tmp_path), *words))
    loud = run_here(tmp_path / "loud", *validated(tmp_path, *words, "evaluation.every=2"), *asked(tmp_path))
    assert equal(quiet, loud)
    losses = [[row["train/loss"] for row in rows(run).values()] for run in (quiet, loud)]
    assert losses[0] == losses[1] and len(losses[0]) == 5
    measured = {step: row["validation/loss"] for step, row in rows(loud).items() if row["validation/loss"]}
    assert list(measured) == [2, 4, 5]
    assert [step for step, row in rows(loud).items() if row["eval/accuracy"]] == [2, 4, 5]
    # against the checkpoint's own forward pass, sample by sample
    pipeline, _ = load_run(str(loud.path), open_registry())
    samples = pipeline.registry.build("dataset", pipeline.config.validation.dataset)
    prepared = pipeline.prepared(samples, answers=True)
    from vlframe.data.collate import Collate

    with torch.no_grad():
        found = [pipeline.model(Collate()([prepared[number]])) for number in range(len(samples))]
    mean = sum(float(loss.total) for loss in found) / sum(loss.tokens for loss in found)
    assert float(measured[5]) == pytest.approx(mean, rel=1e-5)
    log = loud.log.read_text()
    assert "stage main, step 2: validation loss" in log and "accuracy" in log and "the best so far" in log


def test_a_run_cut_anywhere_is_evaluated_and_stopped_as_a_straight_one(tmp_path: Path) -> None:
    """Weights, optimizer, standing, the metrics of every step, and best.json; in particular where the run was killed
    in an evaluation that came after a checkpoint, and where it stopped right before one."""
    words = validated(
        tmp_path, *DROPOUT, "evaluation.every=2", "trainer.checkpoint_every=1", "trainer.keep_checkpoints=9",
        "stages.main.steps=7",
    )  # fmt: skip
    straight = run_here(tmp_path / "straight", *words)
    for step in (1, 2, 5):
        cut = RunFolder(tmp_path / f"cut{step}")
        shutil.copytree(straight.path, cut.path)
        for item in checkpoints(cut):
            if item.step > step:
                shutil.rmtree(item.path)
        registry = open_registry()
        train(compose("train", [f"resume={cut.path}"], registry), registry)
        assert equal(straight, cut)
        states = [torch.load(latest(run).path / "training.pt", weights_only=True) for run in (straight, cut)]
        assert states[0]["standing"] == states[1]["standing"] and states[0]["standing"]["evaluated"] == 7
        kept = [{(at, row["train/loss"], row["validation/loss"]) for at, row in rows(run).items()}
                for run in (straight, cut)]  # fmt: skip
        assert kept[0] == kept[1]
        assert best_of_stages(straight) == best_of_stages(cut)


def killed(self: Validation, module: object) -> float:
    torch.rand(3)  # what it had drawn by then
    raise SystemError("killed")


def test_a_run_that_stops_where_it_is_to_be_evaluated_is_evaluated_when_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one that is killed in the middle of that evaluation, once more."""
    from vlframe.training.stopping import Stop

    words = validated(tmp_path, *DROPOUT, "evaluation.every=2", f"runs={tmp_path / 'runs'}")
    straight = run_here(tmp_path / "straight", *words[:-1])
    registry = open_registry()
    cut = train(compose("train", words, registry), registry, Stop(step=4))
    assert not rows(cut)[4]["validation/loss"] and not latest(cut).finished
    with monkeypatch.context() as patch, pytest.raises(SystemError, match="killed"):
        patch.setattr(Validation, "loss", killed)
        train(compose("train", [f"resume={cut.path}"], registry), registry)
    assert not rows(cut)[4]["validation/loss"] and latest(cut).step == 4
    train(compose("train", [f"resume={cut.path}"], registry), registry)
    assert equal(straight, cut)
    assert [row["validation/loss"] for row in rows(cut).values()] == [
        row["validation/loss"] for row in rows(straight).values()
    ]


def test_a_stage_that_no_longer_gets_better_ends_and_its_best_checkpoint_stays(tmp_path: Path) -> None:
    """Steps of a rate far too high: the loss falls, then rises. The next stage begins behind it."""
    words = validated(
        tmp_path, "evaluation.every=1", "early_stopping.patience=2", "stages.main.lr=0.05", "stages.main.steps=40",
        "stages.main.warmup_ratio=0.2", "trainer.keep_checkpoints=1", "+stage@stages.more=tune", "stages.more.steps=1",
        "stages.more.batch_size=2", "stages.more.lr=1e-60",
    )  # fmt: skip
    run = run_here(tmp_path, *words)
    losses = {step: float(row["validation/loss"]) for step, row in rows(run).items()}
    ends = {item.stage: item.step for item in checkpoints(run) if item.finished}
    best = min((value, step) for step, value in losses.items() if step <= ends["main"])[1]
    assert ends["main"] == best + 2 < 40
    row = best_of_stages(run)["main"]
    assert (row["step"], row["by"], row["value"]) == (best, LOSS, losses[best])
    assert {item.step for item in checkpoints(run) if item.stage == "main"} == {best, best + 2}
    assert max(losses) == ends["main"] + 1  # the row of the next stage's only step
    outcome = json.loads(run.outcome.read_text())
    assert outcome["state"] == "done" and outcome["steps_done"] == best + 3 and "main ended early" in outcome["why"]
    assert f"no better evaluation since step {best}" in run.log.read_text()
    # what the best was is what the checkpoint of that name gives
    pipeline, _ = load_run(str(run.path), open_registry(), checkpoint=row["checkpoint"])
    assert pipeline.model is not None and chosen(run, row["checkpoint"]).step == best
    assert chosen(run, "best").stage == "more" and chosen(run, "newest").stage == "more"
    # a run whose stage ended early goes on behind it
    resumed = run_here(tmp_path, f"resume={run.path}", "+stage@stages.last=tune", "stages.last.steps=1",
                       "stages.last.batch_size=2")  # fmt: skip
    assert latest(resumed).stage == "last" and max(rows(resumed)) == ends["main"] + 2


def test_a_score_tells_the_best_where_it_is_said(tmp_path: Path) -> None:
    words = [*training(manifest(tmp_path), "evaluation.every=3", "evaluation.best_by=accuracy"), *asked(tmp_path)]
    run = run_here(tmp_path, *words)
    assert best_of_stages(run)["main"]["by"] == "accuracy"
    with pytest.raises(ConfigError, match=r"best_by is 'bleu', which .* do not have; they have .*accuracy"):
        run_here(tmp_path, *words, "evaluation.best_by=bleu")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["evaluation.every=2"], "there is nothing to evaluate"),
        (["early_stopping.patience=2"], "nothing is evaluated in training"),
        (["evaluation.best_by=loss"], "choose validation.dataset"),
        (["evaluation.best_by=accuracy"], "it needs a benchmark"),
    ],
)
def test_what_cannot_come_of_an_evaluation_is_said_before_a_run(tmp_path: Path, words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run_here(tmp_path, *training(manifest(tmp_path), *words))
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("patience", "verdict"), [(None, "safe"), (3, "needs_permission")])
def test_what_tells_when_a_stage_ends_is_not_changed_unasked(patience: int | None, verdict: str) -> None:
    reached = Checkpoint(Path("00-main-0000002"), "main", 0, 2, False, 1.0)
    for group, key, values in (
        ("evaluation", "every", (2, 3)), ("validation", "batch_size", (8, 4)), ("evaluation", "batch_size", (16, 8)),
    ):  # fmt: skip
        old, new = (
            {"stages": {"main": {}}, "early_stopping": {"patience": patience}, group: {key: value}} for value in values
        )
        (change,) = judged(old, new, reached)
        assert change.verdict == ("safe" if (group, key) == ("evaluation", "batch_size") else verdict)


def test_checkpoints_are_chosen_by_words_and_by_name(tmp_path: Path) -> None:
    run = run_here(tmp_path, *training(manifest(tmp_path), "stages.main.steps=2"))
    with pytest.raises(WeightsError, match="no best checkpoint: nothing was evaluated"):
        chosen(run, "best")
    with pytest.raises(WeightsError, match="no checkpoint 'old'; it has 00-main-0000002-end"):
        chosen(run, "old")
    assert chosen(run, "00-main-0000002-end") == chosen(run, "newest") == latest(run)


def test_standing_is_by_the_lower_loss_or_the_higher_score() -> None:
    for by, better, worse in ((LOSS, 1.0, 2.0), ("accuracy", 2.0, 1.0)):
        standing, lower = Standing(), by == LOSS
        assert (
            standing.offer(by, float("nan"), 1, lower=lower) is False
            and standing.value is None
            and standing.waited == 1
        )
        assert (
            standing.offer(by, worse, 2, lower=lower)
            and standing.offer(by, better, 3, lower=lower)
            and not standing.offer(by, worse, 4, lower=lower)
        )
        assert (standing.value, standing.step, standing.waited, standing.evaluated) == (better, 3, 1, 4)
        assert not standing.offer(by, better, 5, lower=lower) and standing.waited == 2
        assert Standing(**standing.state()) == standing


@pytest.mark.parametrize(("samples", "size", "world"), [(7, 2, 1), (7, 2, 2), (3, 2, 4), (8, 1, 3)])
def test_ranks_share_validation_data_and_have_as_many_batches(samples: int, size: int, world: int) -> None:
    shares = [batches_of_rank(samples, size, rank, world) for rank in range(world)]
    assert len({len(share) for share in shares}) == 1
    assert sorted(draw.index for share in shares for batch in share for draw in batch) == list(range(samples))
    assert all(len(batch) <= size for share in shares for batch in share)
