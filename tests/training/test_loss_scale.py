"""float16 with loss scaling. Runs are in float16 on the CPU, which users are refused: everything but the device is
what a GPU does.
"""

import json
import shutil
from pathlib import Path

import pytest
import torch
from helpers.compositions import tiny_pipeline
from helpers.runs import manifest, only_run, training, weights
from safetensors.torch import load_file
from torch import nn

from vlframe.composer.compose import compose, open_registry
from vlframe.config.schema import TrainerConfig
from vlframe.errors import ConfigError, TrainingError
from vlframe.runs.checkpoint import checkpoints, latest
from vlframe.runs.folder import RunFolder
from vlframe.training import loss_scale
from vlframe.training.loss_scale import PATIENCE, RanksScaler, SkippedSteps, check_precision
from vlframe.training.metrics_file import MetricsFile
from vlframe.training.run import train
from vlframe.training.trainable import RunPrecision

HALF = ["trainer.precision=16", "trainer.accelerator=cpu"]


@pytest.fixture
def on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vlframe.training.preflight.check_precision", lambda settings: None)


def run(folder: Path, *more: str) -> RunFolder:
    folder.mkdir(parents=True, exist_ok=True)
    registry = open_registry()
    words = training(manifest(folder), f"runs={folder / 'runs'}", "trainer.accelerator=cpu", *more)
    return train(compose("train", words, registry), registry)


def rows(folder: RunFolder) -> list[dict[str, float]]:
    return MetricsFile(folder.metrics_csv).history()


@pytest.mark.parametrize("accelerator", ["auto", "cpu", "mps"])
def test_it_is_refused_without_a_gpu(accelerator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: accelerator != "auto")
    with pytest.raises(ConfigError, match=r"trainer.precision is 16 .* say trainer.precision=32, or bf16"):
        check_precision(TrainerConfig(precision="16", accelerator=accelerator))
    check_precision(TrainerConfig(precision="bf16", accelerator=accelerator))


def test_a_run_without_a_gpu_is_refused_before_it_has_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"trainer.precision is 16"):
        run(tmp_path, *HALF)
    assert not (tmp_path / "runs").exists()


def test_a_run_learns_what_one_in_float32_does(tmp_path: Path, on_cpu: None) -> None:
    """Four small steps with clipping and two micro-batches: every weight to 1 % of the way that any went."""
    words = ["stages.main.steps=4", "stages.main.accumulate_grad_batches=2", "stages.main.max_grad_norm=0.1"]
    start, whole, half = (
        weights(run(tmp_path / name, *words, *more))
        for name, more in (("start", ["stages.main.lr=1e-12"]), ("32", []), ("16", HALF))
    )
    way = max((whole[key] - start[key]).abs().max() for key in whole)
    assert way > 1e-3
    difference = torch.cat([(whole[key] - half[key]).abs().flatten() for key in whole])
    assert 0 < difference.mean() < 0.01 * way
    assert all(value.dtype == torch.float32 for value in half.values() if value.is_floating_point())


def test_the_first_scale_is_that_of_a_mean_and_no_digit_depends_on_it(
    tmp_path: Path, on_cpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {}
    for exponent in (12, 8):
        monkeypatch.setattr(loss_scale, "FIRST_SCALE", 2.0**exponent)
        folder = run(tmp_path / str(exponent), *HALF, "stages.main.steps=3")
        assert {row["train/skipped_steps"] for row in rows(folder)} == {0.0}
        (scale,) = {row["train/loss_scale"] for row in rows(folder)}
        tokens = rows(folder)[0]["train/step_tokens"]
        assert 2**exponent / scale / 2 < tokens <= 2**exponent / scale
        found[exponent] = [row["train/loss"] for row in rows(folder)]
    assert found[12] == pytest.approx(found[8], rel=1e-3)  # subnormal numbers of float16 differ


def test_skipped_steps_are_counted_and_a_resumed_run_is_a_straight_one(
    tmp_path: Path, on_cpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scale begins far too high: the first steps are skipped. It is cut where the scale has fallen half way."""
    monkeypatch.setattr(loss_scale, "FIRST_SCALE", 2.0**24)
    words = [*HALF, "stages.main.steps=14", "trainer.checkpoint_every=3", "trainer.keep_checkpoints=9"]
    straight, cut = run(tmp_path / "straight", *words), run(tmp_path / "cut", *words)
    skipped = [row["train/skipped_steps"] for row in rows(straight)]
    assert 3 < skipped[-1] < 14 and skipped[2] == 3.0
    assert f"{skipped[-1]:.0f} of 14 steps were skipped" in straight.log.read_text()
    at = {item.step: load_file(item.path / "llm.safetensors") for item in checkpoints(straight)}
    assert all(torch.equal(at[3][key], at[6][key]) for key in at[3])  # what is skipped moves nothing
    assert not all(torch.equal(at[6][key], at[14][key]) for key in at[3])
    for item in checkpoints(cut):
        if item.step > 3:
            shutil.rmtree(item.path)
    registry = open_registry()
    train(compose("train", [f"resume={cut.path}"], registry), registry)
    keys = ("train/loss", "train/loss_scale", "train/skipped_steps")
    assert [[row[key] for key in keys] for row in rows(cut)] == [[row[key] for key in keys] for row in rows(straight)]
    ours, theirs = weights(straight), weights(cut)
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    saved = torch.load(latest(cut).path / "training.pt", weights_only=True)
    assert saved["LossScaling"]["scale"] == rows(cut)[-1]["train/loss_scale"]


def test_a_run_that_skips_every_step_is_not_done(tmp_path: Path, on_cpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss_scale, "FIRST_SCALE", 2.0**60)
    with pytest.raises(
        TrainingError, match=r"main learned nothing in every step up to step 3: .* say trainer.precision=bf16 or 32"
    ):
        run(tmp_path, *HALF, "stages.main.steps=3")
    assert json.loads((only_run(tmp_path) / "outcome.json").read_text())["state"] == "failed"


def test_a_stage_whose_gradients_stay_infinite_ends(tmp_path: Path) -> None:
    steps = SkippedSteps("main")
    for skipped in [False, *[True] * (PATIENCE - 1)]:
        steps.count(skipped)
        steps.check(100, last=False)
    later = SkippedSteps("main")
    later.restore(steps.state())
    later.count(True)
    with pytest.raises(TrainingError, match=f"each of the last {PATIENCE} step"):
        later.check(101, last=False)
    later.count(False)
    later.check(102, last=True)


def test_a_step_without_gradients_is_no_overflow_and_an_infinite_one_is_skipped() -> None:
    """The optimizer of torch's own scaler would have no check to go by."""
    weight = nn.Parameter(torch.ones(2))
    optimizer, scaler = torch.optim.SGD([weight], lr=1.0), RanksScaler("cpu", init_scale=4.0)
    for gradient, expected, scale in ((None, 1.0, 4.0), (8.0, -1.0, 4.0), (float("inf"), -1.0, 2.0)):
        scaler.scale(torch.zeros(()))
        weight.grad = None if gradient is None else torch.full((2,), gradient)
        scaler.unscale_(optimizer)
        assert scaler.overflow is not None and bool(scaler.overflow) == (gradient == float("inf"))
        scaler.step(optimizer)
        scaler.update()
        assert weight.tolist() == [expected] * 2 and scaler.get_scale() == scale


def test_frozen_weights_beyond_float16_are_named(registry) -> None:
    model = tiny_pipeline(registry).model
    model.requires_grad_(False)
    name, parameter = next(item for item in model.parts["encoder"].named_parameters() if item[1].ndim >= 2)
    parameter.data[..., 0] = 1e6
    with pytest.raises(ConfigError, match=rf"encoder has weights beyond float16.*\({name}: 1e\+06\)"):
        RunPrecision(model, "16").apply()
