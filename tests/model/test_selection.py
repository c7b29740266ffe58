"""Which parameters a stage trains: patterns, blocks, adapters; which modules are in train mode; what is saved."""

from collections.abc import Callable

import pytest
import torch
from helpers.compositions import tiny_pipeline
from torch import Tensor, nn

from vlframe.composer.compose import compose
from vlframe.config.parts import PartConfig
from vlframe.config.typed import frozen, typed
from vlframe.errors import ConfigError
from vlframe.model.adapters import adapted, add_adapter
from vlframe.model.assemble import compose_on_meta
from vlframe.model.selection import adapter_places, blocks_of, learning, modules_that_train, names_parameter, plain_name
from vlframe.training.trainable import prepare_parts, set_modes
from vlframe.weights.parts import owned_tensors


class Block(nn.Module):
    """Attention's layers are stand-ins; what counts is that statistics and dropout stand beside weights."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)
        self.bn = nn.BatchNorm1d(3)
        self.drop = nn.Dropout(0.5)

    def forward(self, values: Tensor) -> Tensor:
        return self.drop(self.bn(self.fc(values)))


class Tower(nn.Module):
    """Three blocks between an embedding and a head that is tied to it."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(3, 3, bias=False)
        self.layers = nn.ModuleList(Block() for _ in range(3))
        self.head = nn.Linear(3, 3, bias=False)
        self.head.weight = self.embed.weight

    def blocks(self) -> list[nn.Module]:
        return list(self.layers)


def settings(**given: object) -> PartConfig:
    return frozen(PartConfig, typed(PartConfig, given))


def test_patterns_are_globs_for_names_and_for_modules() -> None:
    named = names_parameter
    assert named("layers.1", "layers.1.fc.weight") and not named("layers.1", "layers.10.fc.weight")
    assert named("*.fc.weight", "layers.1.fc.weight") and not named("fc.weight", "layers.1.fc.weight")
    assert named("layers.[12].*.bias", "layers.2.fc.bias") and not named("layers.[12]", "layers.0.fc.bias")
    assert plain_name("a.fc.lora_A.default.weight") == plain_name("a.fc.base_layer.weight") == "a.fc.weight"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"train": "frozen"}, lambda name: False),
        ({"train": "full"}, lambda name: True),
        ({"train": "full", "trainable": ["*.bn"]}, lambda name: ".bn." in name),
        (
            {"train": "full", "frozen": ["*.bias", "layers.0"]},
            lambda name: "bias" not in name and "layers.0" not in name,
        ),
        ({"train": "full", "layers_from_top": 1}, lambda name: "layers.2" in name),
        (
            {"train": "full", "layers_from_top": 2, "trainable": ["layers.0.fc"], "frozen": ["*.bn"]},
            lambda name: "layers." in name and ".bn." not in name,
        ),
        ({"train": "full", "trainable": ["head"]}, lambda name: name in ("embed.weight", "head.weight")),
        ({"train": "full", "frozen": ["head"]}, lambda name: name not in ("embed.weight", "head.weight")),
        ({"train": "lora", "trainable": ["*.bn"]}, lambda name: ".bn." in name),
    ],
)
def test_what_learns(given: dict[str, object], expected: Callable[[str], bool]) -> None:
    """A tensor of two names learns or does not under both; adapters that are not there yet do not count."""
    tower = Tower()
    names = [name for name, _ in tower.named_parameters(remove_duplicate=False)]
    assert learning("encoder", tower, settings(**given)) == {name for name in names if expected(name)}


def test_adapters_stand_where_they_learn(registry) -> None:
    tower = Tower()
    plan = settings(
        train="lora", layers_from_top=2, frozen=["layers.1.fc"], trainable=["layers.0.bn"], lora={"rank": 2}
    )
    places = adapter_places("encoder", tower, plan)
    assert places == ["layers.2.fc"]
    add_adapter("encoder", tower, plan.lora, places)
    assert adapted(tower) == {"layers.2.fc"} and adapter_places("encoder", tower, plan) == places
    assert learning("encoder", tower, plan) == {
        "layers.0.bn.weight", "layers.0.bn.bias",
        "layers.2.fc.lora_A.default.weight", "layers.2.fc.lora_B.default.weight",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"trainable": ["layer.1"]}, r"encoder\.trainable has 'layer\.1', which matches no param.*mean 'layers\.1'"),
        ({"frozen": ["*.fv.weight"]}, r"encoder\.frozen has '\*\.fv\.weight'.*mean '\*\.fc\.weight'"),
        ({"trainable": ["head", "nothing"]}, r"'nothing', which matches no parameter.*like embed\.weight, "),
        ({"layers_from_top": 4}, "encoder.layers_from_top is 4, and Tower has 3 blocks"),
    ],
)
def test_what_matches_nothing_is_said_with_near_names(given: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        learning("encoder", Tower(), settings(train="full", **given))


def test_a_part_without_blocks_says_so() -> None:
    with pytest.raises(ConfigError, match=r"Linear does not say which blocks it has.*trainable=\[…\]: weight, bias"):
        learning("connector", nn.Linear(2, 2), settings(train="full", layers_from_top=1))


def test_modules_are_in_train_mode_where_something_learns() -> None:
    """Its dropout with a block of which something learns, and no other; statistics with their own norm alone."""
    tower = Tower()
    learned = learning("encoder", tower, settings(train="full", trainable=["layers.1.fc"]))
    assert modules_that_train(tower, learned) == {"", "layers", "layers.1", "layers.1.fc", "layers.1.drop"}
    everything = {name for name, _ in tower.named_modules()}
    assert modules_that_train(tower, learning("encoder", tower, settings(train="full"))) == everything
    assert modules_that_train(tower, set()) == set()


def test_a_part_with_a_source_owns_what_was_trained_and_the_statistics_beside_it() -> None:
    tower = Tower()
    first = settings(train="full", layers_from_top=1)
    second = settings(train="full", trainable=["layers.0.fc.bias"])

    def owned(source: str | None, *history: PartConfig) -> set[str]:
        return set(owned_tensors("encoder", tower, {"source": source}, history))

    top = {name for name in tower.state_dict() if name.startswith("layers.2.")}
    assert "layers.2.bn.running_mean" in top
    assert owned("hub", first) == top
    assert owned("hub", first, settings()) == top, "a stage that freezes it takes nothing back"
    assert owned("hub", first, second) == top | {"layers.0.fc.bias"}
    assert owned("hub", settings()) == set()
    everything = set(tower.state_dict()) - {"head.weight"}  # the second name of a tied tensor
    assert owned(None, settings()) == owned("hub", first, settings(train="full")) == everything


def test_only_what_is_selected_moves_and_only_its_statistics(registry) -> None:
    """Element by element, over real steps of the optimizer."""
    from types import SimpleNamespace
    from typing import Any

    from vlframe.config.schema import StageConfig
    from vlframe.training.optim import make_optimizer

    tower = Tower()
    model: Any = SimpleNamespace(parts={"encoder": tower}, branches={})
    given = {
        "lr": 0.1,
        "weight_decay": 0.1,
        "encoder": {"train": "full", "layers_from_top": 1, "frozen": ["*.fc.bias"]},
    }
    stage = frozen(StageConfig, typed(StageConfig, given))
    (row,) = prepare_parts(model, stage)
    assert (row.trained, len(row.names), row.of) == (9 + 3 + 3, 3, "last 1 blocks; without *.fc.bias")
    set_modes(model)
    before = {name: value.clone() for name, value in tower.state_dict().items()}
    optimizer = make_optimizer(model, stage)
    for seed in range(2):
        values = torch.randn(5, 3, generator=torch.manual_seed(seed))
        for block in tower.blocks():
            values = block(values)
        values.square().sum().backward()
        optimizer.step()
    moved = {name for name, value in tower.state_dict().items() if not torch.equal(value, before[name])}
    statistics = {f"layers.2.bn.{name}" for name in ("running_mean", "running_var", "num_batches_tracked")}
    assert moved == {"layers.2.fc.weight", "layers.2.bn.weight", "layers.2.bn.bias"} | statistics


FIRST_PARTY = [
    ("encoder", ["encoder=vit_tiny", "encoder.depth=3"], 3),
    ("encoder", ["encoder=vit_joint_tiny"], None),
    ("encoder", ["encoder=siglip2_naflex_tiny"], None),
    ("encoder", ["encoder=videomae_tiny", "connector=mlp"], None),
    ("encoder", ["encoder=clip_tiny"], None),
    ("encoder", ["encoder=siglip_tiny"], None),
    ("encoder", ["encoder=timm", "encoder.model=resnet18", "encoder.size=64"], 4),
    ("encoder", ["encoder=timm", "encoder.model=vit_tiny_patch16_224", "encoder.level=5"], 6),
    ("encoder", ["encoder=timm", "encoder.model=convnext_atto"], 4),
    ("audio_encoder", ["audio_encoder=beats_tiny"], None),
    ("audio_encoder", ["audio_encoder=whisper_micro"], None),
    ("llm", ["llm=tiny"], 2),
]  # fmt: skip


@pytest.mark.parametrize(("part", "words", "count"), FIRST_PARTY, ids=lambda item: str(item))
def test_first_party_parts_list_their_blocks_from_input_to_output(registry, part, words, count) -> None:
    """Each block is there once, has weights, and the last ones get gradients from the output when only they learn."""
    base = ["encoder=vit_tiny", "connector=stc_tiny", "llm=tiny", "media.frames=4", "connector=spatial_pool"]
    model = compose_on_meta(compose("train", [*base, *words], registry), registry).model
    blocks = blocks_of(model.parts[part])
    assert len(blocks) == (count or len(blocks)) and len(blocks) > 0
    names = [name for name, _ in model.parts[part].named_parameters()]
    order = []
    for block in blocks:
        ids = {id(item) for item in block.parameters()}
        inside = [at for at, (_, item) in enumerate(model.parts[part].named_parameters()) if id(item) in ids]
        assert inside and len(inside) == len(ids)
        order.append(min(inside))
    assert order == sorted(order) and len(set(order)) == len(order) and names


def test_a_stage_names_the_key_and_the_part(registry) -> None:
    pipeline = tiny_pipeline(registry)
    from vlframe.config.schema import StageConfig
    from vlframe.training.trainable import check_parts

    def stages(**parts: object) -> dict[str, StageConfig]:
        return {"tune": frozen(StageConfig, typed(StageConfig, parts))}

    with pytest.raises(ConfigError, match=r"stages\.tune\.llm\.trainable has 'lm\.model\.norms'.*'lm\.model\.norm'"):
        check_parts(pipeline.model, stages(llm={"train": "full", "trainable": ["lm.model.norms"]}))
    with pytest.raises(ConfigError, match=r"stages\.tune\.connector\.layers_from_top is 1, and STC.* does not say"):
        check_parts(pipeline.model, stages(connector={"train": "full", "layers_from_top": 1}))
    with pytest.raises(ConfigError, match="stage tune trains nothing"):
        check_parts(pipeline.model, stages(llm={"train": "frozen"}))
    with pytest.raises(ConfigError, match=r"stages\.tune\.llm trains nothing: .*trainable=\['lm'\]\); take"):
        check_parts(pipeline.model, stages(llm={"train": "full", "trainable": ["lm"], "frozen": ["lm.*"]}))
    top = {"train": "full", "layers_from_top": 1, "frozen": ["*"]}
    with pytest.raises(ConfigError, match=r"stages\.tune\.llm trains nothing: .*layers_from_top=1"):
        check_parts(pipeline.model, stages(llm=top, connector={"train": "full"}))
    for given in ({"trainable": ["norm"]}, {"frozen": ["norm"]}, {"layers_from_top": 1}):
        absent = stages(audio_encoder={"train": "full", **given}, connector={"train": "full"})
        with pytest.raises(
            ConfigError, match=rf"stages\.tune\.audio_encoder\.{next(iter(given))} is set, .* no audio_"
        ):
            check_parts(pipeline.model, absent)
    check_parts(pipeline.model, stages(audio_encoder={"train": "full"}, connector={"train": "full"}))
    two = stages(llm={"train": "lora"}) | {
        "more": frozen(StageConfig, typed(StageConfig, {"llm": {"train": "lora", "lora": {"rank": 4}}}))
    }
    with pytest.raises(ConfigError, match=r"stages\.more\.llm\.lora is not that of stage tune"):
        check_parts(pipeline.model, two)
    with pytest.raises(ConfigError, match=r"stages\.tune\.llm has no layer called q_prog .*mean 'q_proj'"):
        check_parts(pipeline.model, stages(llm={"train": "lora", "lora": {"targets": ["q_prog"]}}))
