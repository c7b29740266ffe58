"""Optimizer groups, the schedule, and what a stage does to parts."""

import itertools

import pytest
import torch
from helpers.compositions import batch, clip, row, tiny_session
from omegaconf import OmegaConf

from vlframe.config import StageConfig
from vlframe.errors import ConfigError
from vlframe.training.optim import make_optimizer, parameter_groups, warmup_cosine
from vlframe.training.parts import RunPrecision, prepare_parts


def stage(**changes: object):
    return OmegaConf.merge(OmegaConf.structured(StageConfig), changes)


def test_the_schedule_climbs_then_falls() -> None:
    factor = warmup_cosine(steps=100, warmup_ratio=0.1, final_ratio=0.1)
    values = [factor(step) for step in range(101)]
    assert values[0] == pytest.approx(1 / 11) and values[10] == 1.0 and values[100] == pytest.approx(0.1)
    assert all(a < b for a, b in itertools.pairwise(values[:11]))
    assert all(a > b for a, b in itertools.pairwise(values[10:]))
    assert warmup_cosine(10, 0.0, 0.0)(0) == 1.0


def test_groups_have_each_trained_parameter_once_with_its_own_rate_and_decay(registry) -> None:
    model = tiny_session(registry).model
    plan = stage(
        lr=1e-3, weight_decay=0.1, connector={"train": "full"}, llm={"train": "full", "lr": 1e-4, "weight_decay": 0.0}
    )
    prepare_parts(model, plan)
    groups = parameter_groups(model, plan)
    listed = [parameter for group in groups for parameter in group["params"]]
    assert {id(p) for p in listed} == {id(p) for p in model.parameters() if p.requires_grad}
    assert len(listed) == len({id(p) for p in listed})
    assert not any(p.requires_grad for p in model.encoder.parameters())
    by_name = {group["name"]: group for group in groups}
    assert by_name["connector/weights"]["weight_decay"] == 0.1
    assert by_name["connector/norms and biases"]["weight_decay"] == 0.0
    assert by_name["llm/weights"]["lr"] == 1e-4 and by_name["llm/weights"]["weight_decay"] == 0.0
    assert all(p.ndim < 2 for name, g in by_name.items() if "norms" in name for p in g["params"])


def test_low_rank_adapters_train_and_nothing_else_moves(registry) -> None:
    session = tiny_session(registry)
    plan = stage(lr=1e-2, llm={"train": "lora", "lora": {"rank": 4, "dropout": 0.0}})
    rows = prepare_parts(session.model, plan)
    assert {row.part: row.trained > 0 for row in rows} == {"encoder": False, "connector": False, "llm": True}
    before = {name: p.detach().clone() for name, p in session.model.named_parameters()}
    optimizer = make_optimizer(session.model, plan)
    for _ in range(2):
        session.model(batch(row([clip(session, 1)], 8, 3, 1))).total.backward()
        optimizer.step()
        optimizer.zero_grad()
    moved = {name for name, p in session.model.named_parameters() if not torch.equal(p, before[name])}
    assert moved and all("lora_" in name for name in moved)


def test_a_stage_that_trains_nothing_is_refused(registry) -> None:
    with pytest.raises(ConfigError, match="trains nothing"):
        prepare_parts(tiny_session(registry).model, stage())


def test_a_frozen_part_comes_out_of_a_bf16_run_unchanged(registry) -> None:
    model = tiny_session(registry).model
    prepare_parts(model, stage(connector={"train": "full"}))
    before = {name: p.detach().clone() for name, p in model.encoder.named_parameters()}
    precision = RunPrecision(model, "bf16")
    precision.apply()
    matrices = [p for p in model.encoder.parameters() if p.ndim >= 2]
    assert matrices and all(p.dtype == torch.bfloat16 for p in matrices)
    assert all(p.dtype == torch.float32 for p in model.connector.parameters())
    precision.restore()
    for name, parameter in model.encoder.named_parameters():
        assert torch.equal(parameter, before[name])
