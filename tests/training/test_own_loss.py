"""Terms that parts add to the loss: what they weigh, however a step is cut into micro-batches and ranks."""

import csv
from pathlib import Path

import pytest
import torch
from helpers.mixtures import mixture
from helpers.processes import vlframe
from helpers.runs import only_run, training, weights

from vlframe.composer.compose import compose, open_registry
from vlframe.errors import PluginError
from vlframe.runs.folder import RunFolder
from vlframe.training.run import train

PLUGIN = str(Path(__file__).parent / "outside" / "adding.py")
KINDS = ["video", "text", "image", "video", "text", "both", "video", "image"]
STEPS = [
    "media.withhold=[audio]", "trainer.accelerator=cpu", "stages.main.encoder.train=full", "stages.main.steps=2",
    "stages.main.lr=1e-4", "stages.main.warmup_ratio=0", f"plugins.paths=[{PLUGIN}]",
]  # fmt: skip
WHOLE = ["stages.main.batch_size=4", "stages.main.accumulate_grad_batches=1"]
ADDING = ["connector=adding", "llm=adding"]
TERMS = ("train/loss/connector.size", "train/loss/llm.hidden")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mixture(tmp_path_factory.mktemp("mixture"), KINDS)


@pytest.fixture(scope="module")
def here(file: Path, tmp_path_factory: pytest.TempPathFactory):
    """A run in this process."""

    def run(*words: str) -> RunFolder:
        registry = open_registry([PLUGIN])
        folder = tmp_path_factory.mktemp("run")
        return train(compose("train", [*arguments(file, *words), f"runs={folder}"], registry), registry)

    return run


@pytest.fixture(scope="module")
def whole(here) -> RunFolder:
    return here(*WHOLE)


def arguments(file: Path, *words: str) -> list[str]:
    # The parts' own small sizes in place of those of the usual tiny ones.
    usual = [word for word in training(file, *STEPS) if not word.startswith(("llm", "connector="))]
    return [*usual, *ADDING, *words]


def rows(run: RunFolder) -> list[dict[str, float]]:
    with open(run.metrics_csv, newline="") as lines:
        return [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(lines)]


def assert_same(one: RunFolder, two: RunFolder) -> None:
    ours, theirs = weights(one), weights(two)
    assert ours.keys() == theirs.keys()
    for key, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[key], rtol=0, atol=2e-5, msg=lambda text, key=key: f"{key}: {text}")
    for ours_, theirs_ in zip(rows(one), rows(two), strict=True):
        for name in ("train/loss", "train/loss/cross_entropy", *TERMS):
            assert ours_[name] == pytest.approx(theirs_[name], rel=1e-4), name


def test_the_loss_is_the_cross_entropy_and_what_is_added(whole: RunFolder) -> None:
    for row in rows(whole):
        parts = row["train/loss/cross_entropy"] + sum(row[name] for name in TERMS)
        assert row["train/loss"] == pytest.approx(parts, rel=1e-6)
        assert all(row[name] > 0 for name in TERMS)


def test_a_term_is_its_sum_over_the_supervised_tokens_of_the_step(file: Path) -> None:
    """The gradient of a step, against autograd on the whole batch."""
    from vlframe.data.collate import Collate
    from vlframe.inference.pipeline import build_pipeline
    from vlframe.training.module import StageModule

    registry = open_registry([PLUGIN])
    config = compose("train", arguments(file), registry)
    pipeline = build_pipeline(config, registry)
    dataset = registry.build("dataset", config.dataset)
    prepared = pipeline.prepared(dataset, answers=True)
    batch = Collate()([prepared[index] for index in range(4)])
    kept = []
    pipeline.model.branches["video"].connector.register_forward_hook(lambda _, __, out: kept.append(out))
    plain = pipeline.model(batch)
    by_hand = 0.25 * sum(out.square().sum() for out in kept)
    module = StageModule(
        pipeline.model,
        config.stages["main"],
        objective=registry.build("objective", config.objective),
        name="main",
        number=0,
        steps=1,
        first_step=0,
        quarantine=None,
        share=None,
    )
    module._trainer = type("Alone", (), {"strategy": None})()  # no strategy, so no shards
    loss, terms = module.loss_of(batch)
    torch.testing.assert_close(terms["connector.size"], by_hand)
    torch.testing.assert_close(loss.total, plain.total + sum(terms.values()))
    assert loss.tokens == plain.tokens == batch.supervised


def test_micro_batches_weigh_as_one_batch(here, whole: RunFolder) -> None:
    assert_same(whole, here("stages.main.batch_size=1", "stages.main.accumulate_grad_batches=4"))


@pytest.mark.parametrize("strategy", ["ddp", pytest.param("fsdp", marks=pytest.mark.slow)])
def test_two_ranks_give_the_weights_of_one(whole: RunFolder, file: Path, tmp_path: Path, strategy: str) -> None:
    """One of them has text alone now and then, and so no term of the connector."""
    words = [*WHOLE[1:], "stages.main.batch_size=2", "trainer.devices=2", f"trainer.strategy={strategy}"]
    vlframe("train", *arguments(file, *words), cwd=tmp_path)
    assert_same(whole, RunFolder.open(only_run(tmp_path)))


def test_without_terms_nothing_is_logged_of_them(here, whole: RunFolder) -> None:
    run = here(*WHOLE, "connector=stc_tiny", "llm=causal_lm", "debug.tiny=true")
    assert not [name for name in rows(run)[0] if name.startswith("train/loss/")]


def test_a_term_that_is_no_scalar_is_one_sentence(here) -> None:
    with pytest.raises(PluginError, match=r"the connector adds the loss 'rows' with a .* of shape \(2,\)"):
        here(*WHOLE, "connector=wrong")


def test_outside_of_training_nothing_happens() -> None:
    import vlframe

    vlframe.add_loss("size", torch.ones(3))
