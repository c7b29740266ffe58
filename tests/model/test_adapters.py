"""Where low-rank adapters go, and how much they weigh."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.compositions import TINY, tiny_pipeline
from torch import nn

from vlframe.composer.compose import compose
from vlframe.config.parts import LoraConfig, PartConfig
from vlframe.config.typed import frozen, typed
from vlframe.contracts.language_model import padded_layout
from vlframe.errors import ConfigError
from vlframe.model.adapters import adapted, add_adapter, alpha_of, has_adapter, merge_adapters, size_in_words
from vlframe.model.selection import adapter_places, learning, plain_name
from vlframe.paths import conf_folder

GPT2 = [
    "llm=causal_lm", "llm.tokenizer=bundled:tiny", "+llm.architecture.model_type=gpt2",
    "+llm.architecture.vocab_size=704", "+llm.architecture.n_embd=48", "+llm.architecture.n_layer=2",
    "+llm.architecture.n_head=4",
]  # fmt: skip
SMALL = [word for word in TINY if not word.startswith("llm")]


def part_settings(**lora: object) -> PartConfig:
    return frozen(PartConfig, typed(PartConfig, {"train": "lora", "lora": {"dropout": 0.0, **lora}}))


def gpt2(registry) -> nn.Module:
    from vlframe.inference.pipeline import build_pipeline

    return build_pipeline(compose("train", [*SMALL, *GPT2], registry), registry).model.eval().llm


@pytest.mark.filterwarnings("error:fan_in_fan_out")
def test_transposed_linear_layers_have_adapters_and_the_head_has_none(registry) -> None:
    """GPT-2: c_attn, c_proj and c_fc of each block. Merged, they compute what they computed beside the weights."""
    llm = gpt2(registry)
    plan = part_settings(rank=2)
    add_adapter("llm", llm, plan.lora, adapter_places("llm", llm, plan))
    layers = ["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"]
    assert adapted(llm) == {f"lm.transformer.h.{block}.{layer}" for block in (0, 1) for layer in layers}
    for name, parameter in llm.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.1)
    ids = torch.arange(5, 15)[None]
    layout = padded_layout(torch.ones_like(ids).bool())
    with torch.no_grad():
        before = llm(llm.embed(ids), layout)
        merge_adapters(llm)
        torch.testing.assert_close(llm(llm.embed(ids), layout), before, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("targets", [None, "all", "all-linear", ["all"]])
def test_all_is_every_linear_layer_of_the_decoder_and_not_the_head(registry, targets: object) -> None:
    llm = tiny_pipeline(registry).model.llm
    places = adapter_places("llm", llm, part_settings(targets=targets))
    assert len(places) == 14 and not any("lm_head" in place for place in places)


def test_a_layer_that_is_named_is_taken_wherever_it_stands(registry) -> None:
    llm = tiny_pipeline(registry).model.llm
    assert adapter_places("llm", llm, part_settings(targets=["lm_head"])) == ["lm.lm_head"]
    assert adapter_places("llm", llm, part_settings(targets="q_proj")) == [
        f"lm.model.layers.{block}.self_attn.q_proj" for block in (0, 1)
    ]


def test_an_adapter_that_would_do_nothing_is_not_made() -> None:
    """torch's MultiheadAttention takes the weight of its out_proj and never calls it."""
    part = nn.ModuleDict({"attention": nn.MultiheadAttention(4, 2), "fc": nn.Linear(4, 4)})
    assert adapter_places("encoder", part, part_settings()) == ["fc"]


@pytest.mark.parametrize(
    ("part", "given", "message"),
    [
        (nn.Sequential(nn.Conv2d(3, 3, 1)), {}, "encoder has no linear layer for a low-rank adapter; use train: full"),
        (
            nn.ModuleDict({"norm": nn.LayerNorm(3)}),
            {"targets": ["norm"]},
            "encoder has a layer among lora.targets that",
        ),
        (nn.ModuleDict({"fc": nn.Linear(3, 3)}), {"targets": ["cf"]}, "its linear layers are called fc"),
    ],
)
def test_layers_that_cannot_be_adapted_are_one_sentence(part: nn.Module, given: dict, message: str) -> None:
    plan = part_settings(**given)
    with pytest.raises(ConfigError, match=message):
        add_adapter("encoder", part, plan.lora, adapter_places("encoder", part, plan))


def test_another_rank_alone_keeps_the_scale() -> None:
    """Of the default, and of what peft multiplies by."""
    for rank in (1, 4, 16, 128):
        assert alpha_of(LoraConfig(rank=rank)) == 2 * rank and alpha_of(LoraConfig(rank=rank, scale=0.5)) == rank / 2
    assert size_in_words(LoraConfig(rank=8, alpha=32.0)) == "rank 8, scale 4", "given alone, alpha decides"
    for given, scale in (({"rank": 4}, 2.0), ({"rank": 4, "scale": 3}, 3.0), ({"rank": 4, "alpha": 2.0}, 0.5)):
        part, plan = nn.ModuleDict({"fc": nn.Linear(3, 3)}), part_settings(**given)
        add_adapter("encoder", part, plan.lora, ["fc"])
        assert part["fc"].scaling == {"default": scale}


def test_libraries_of_adapters_fetch_nothing_and_are_quiet() -> None:
    """bitsandbytes asks the hub for a kernel when it is imported, if the package kernels is there."""
    code = (
        "import logging, sys, types; fetched = []; kernels = types.ModuleType('kernels'); "
        "kernels.get_kernel = lambda *words, **more: fetched.append(words); "
        "finder = type('Finder', (), {'find_spec': staticmethod(lambda name, *more: __import__('importlib.machinery')"
        ".machinery.ModuleSpec(name, type('Loader', (), {'create_module': staticmethod(lambda spec: kernels), "
        "'exec_module': staticmethod(lambda module: None)})) if name == 'kernels' else None)}); "
        "sys.meta_path.insert(0, finder); from torch import nn; from vlframe.config.schema import LoraConfig; "
        "from vlframe.model.adapters import add_adapter; part = nn.ModuleDict({'fc': nn.Linear(3, 3)}); "
        "add_adapter('encoder', part, LoraConfig(rank=2), ['fc']); import kernels as again; "
        "print(fetched, again is kernels)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stdout == "[] True\n" and "kernel" not in done.stderr, done.stderr


def test_presets_of_adapters_keep_their_scale_with_another_rank(registry) -> None:
    """Every preset of every plugin: a fixed alpha would change the scale in silence."""
    folders = [conf_folder(), *(Path(plugin.conf) for plugin in registry.plugins if plugin.conf)]
    files = [file for folder in folders for file in (folder / "stage").glob("*.yaml")]
    presets = sorted(file.stem for file in files if "lora" in file.read_text())
    assert {"tune_lora", "videollama2_finetune_lora", "mplug_owl_lora", "videochat2_stage3"} <= set(presets)
    for preset in presets:
        words = [*TINY, f"+stage@stages.main={preset}", "stages.main.steps=1", "stages.main.epochs=null"]
        then, now = (compose("train", [*words, *more], registry) for more in ([], ["stages.main.llm.lora.rank=2"]))
        scales = [size_in_words(config.stages["main"].llm.lora).partition(", ")[2] for config in (then, now)]
        assert scales[0] == scales[1], preset


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["stages.main.llm.lora.targets=3"], r"stages\.main\.llm\.lora\.targets is 3; it is null, all, or names"),
        (["stages.main.encoder.layers_from_top=1"], r"encoder\.layers_from_top is set and .*encoder\.train is frozen"),
        (["stages.main.llm.layers_from_top=0"], r"layers_from_top is 0; it must be at least 1"),
        (["stages.main.llm.frozen=[]"], r"stages\.main\.llm\.frozen is \[\]; name parameters"),
    ],
)
def test_what_cannot_be_is_said_when_the_config_is_made(
    words: list[str], message: str, registry, tmp_path: Path
) -> None:
    stage = ["+stage@stages.main=tune_lora", "stages.main.steps=1"]
    with pytest.raises(ConfigError, match=message):
        compose("train", [*TINY, *stage, *words], registry)


class Flora(nn.Module):
    """A part with lora in its own names."""

    def __init__(self) -> None:
        super().__init__()
        self.flora_proj = nn.Linear(4, 4, bias=False)
        self.block = nn.ModuleDict(
            {"lora_gate": nn.Linear(4, 4, bias=False), "lora_scale": nn.LayerNorm(4, bias=False)}
        )


def test_a_part_with_lora_in_its_own_names_has_no_adapters_of_itself() -> None:
    part = Flora()
    names = {"flora_proj.weight", "block.lora_gate.weight", "block.lora_scale.weight"}
    full = frozen(PartConfig, typed(PartConfig, {"train": "full"}))
    assert not has_adapter(part) and learning("encoder", part, full) == names
    plan = part_settings(rank=2)
    places = adapter_places("encoder", part, plan)
    assert places == ["flora_proj", "block.lora_gate"]
    add_adapter("encoder", part, plan.lora, places)
    assert adapted(part) == {*places} and has_adapter(part)
    learned = learning("encoder", part, plan)
    assert len(learned) == 4 and {plain_name(name) for name in learned} == names - {"block.lora_scale.weight"}
    assert {plain_name(name) for name, _ in part.named_parameters()} == names
    assert adapter_places("encoder", part, plan) == places
    merge_adapters(part)
    assert {name for name, _ in part.named_parameters()} == names
