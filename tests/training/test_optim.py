"""Optimizer groups, the schedule, and what a stage does to parts."""

import itertools

import pytest
import torch
from helpers.compositions import batch, clip, row, tiny_pipeline

from vlframe.config.schema import StageConfig
from vlframe.config.typed import frozen, typed
from vlframe.errors import ConfigError
from vlframe.training.optim import make_optimizer, parameter_groups, rate_factor
from vlframe.training.trainable import RunPrecision, prepare_parts


def stage(**changes: object) -> StageConfig:
    return frozen(StageConfig, typed(StageConfig, changes))


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_the_schedule_climbs_then_falls(schedule: str) -> None:
    factor = rate_factor(stage(warmup_ratio=0.1, final_lr_ratio=0.1, schedule=schedule), 100)
    values = [factor(step) for step in range(101)]
    assert values[0] == pytest.approx(1 / 11) and values[10] == 1.0 and values[100] == pytest.approx(0.1)
    assert all(a < b for a, b in itertools.pairwise(values[:11]))
    assert all(a > b for a, b in itertools.pairwise(values[10:]))
    middle = {"cosine": 0.55, "linear": 0.55}[schedule]
    assert values[55] == pytest.approx(middle) and rate_factor(stage(warmup_ratio=0), 10)(0) == 1.0


def test_the_climb_may_be_given_in_steps_and_begin_above_nothing() -> None:
    factor = rate_factor(stage(warmup_steps=4, warmup_start_ratio=0.5, schedule="constant"), 100)
    assert [factor(step) for step in (0, 1, 2, 3, 4, 50, 100)] == pytest.approx([0.6, 0.7, 0.8, 0.9, 1.0, 1.0, 1.0])


def test_a_cosine_may_stop_at_a_floor() -> None:
    """As the official VideoChat has it: the floor cuts both ends and changes nothing between them."""
    floored = rate_factor(stage(warmup_ratio=0.2, final_lr_ratio=0.25, schedule="cosine_floor"), 100)
    whole = rate_factor(stage(warmup_ratio=0.2, final_lr_ratio=0.0, schedule="cosine"), 100)
    assert [floored(step) for step in range(101)] == [max(0.25, whole(step)) for step in range(101)]
    assert floored(0) == floored(100) == 0.25 and floored(60) == pytest.approx(0.5)


def test_groups_have_each_trained_parameter_once_with_its_own_rate_and_decay(registry) -> None:
    model = tiny_pipeline(registry).model
    plan = stage(
        lr=1e-3, weight_decay=0.1, connector={"train": "full"}, llm={"train": "full", "lr": 1e-4, "weight_decay": 0.0}
    )
    prepare_parts(model, plan)
    groups = parameter_groups(model, plan)
    listed = [parameter for group in groups for parameter in group["params"]]
    assert {id(p) for p in listed} == {id(p) for p in model.parameters() if p.requires_grad}
    assert len(listed) == len({id(p) for p in listed})
    assert not any(p.requires_grad for p in model.parts["encoder"].parameters())
    by_name = {group["name"]: group for group in groups}
    assert by_name["connector/weights"]["weight_decay"] == 0.1
    assert by_name["connector/norms and biases"]["weight_decay"] == 0.0
    assert by_name["llm/weights"]["lr"] == 1e-4 and by_name["llm/weights"]["weight_decay"] == 0.0
    assert all(p.ndim < 2 for name, g in by_name.items() if "norms" in name for p in g["params"])


def test_low_rank_adapters_train_and_nothing_else_moves(registry) -> None:
    pipeline = tiny_pipeline(registry)
    plan = stage(lr=1e-2, llm={"train": "lora", "lora": {"rank": 4, "dropout": 0.0}})
    rows = prepare_parts(pipeline.model, plan)
    assert {row.part: row.trained > 0 for row in rows} == {"encoder": False, "connector": False, "llm": True}
    before = {name: p.detach().clone() for name, p in pipeline.model.named_parameters()}
    optimizer = make_optimizer(pipeline.model, plan)
    for _ in range(2):
        pipeline.model(batch(row([clip(pipeline, 1)], 8, 3, 1))).total.backward()
        optimizer.step()
        optimizer.zero_grad()
    moved = {name for name, p in pipeline.model.named_parameters() if not torch.equal(p, before[name])}
    assert moved and all("lora_" in name for name in moved)


def test_a_stage_that_trains_nothing_is_refused(registry) -> None:
    with pytest.raises(ConfigError, match="trains nothing"):
        prepare_parts(tiny_pipeline(registry).model, stage())


def test_a_frozen_part_comes_out_of_a_bf16_run_unchanged(registry) -> None:
    model = tiny_pipeline(registry).model
    prepare_parts(model, stage(connector={"train": "full"}))
    before = {name: p.detach().clone() for name, p in model.parts["encoder"].named_parameters()}
    precision = RunPrecision(model, "bf16")
    precision.apply()
    matrices = [p for p in model.parts["encoder"].parameters() if p.ndim >= 2]
    assert matrices and all(p.dtype == torch.bfloat16 for p in matrices)
    assert all(p.dtype == torch.float32 for p in model.parts["connector"].parameters())
    precision.restore()
    for name, parameter in model.parts["encoder"].named_parameters():
        assert torch.equal(parameter, before[name])
