"""Compositions: everything that ships fits, and what does not fit says why before anything is read."""

import re
import subprocess
import sys
from typing import Any

import pytest
from helpers.twins import open_with_twins

from vlframe.composer.compose import compose
from vlframe.errors import ConfigError, UserError
from vlframe.model.assemble import compose_on_meta, typical_tokens
from vlframe.registry.presets import preset_files

INSTALLED = open_with_twins()
MODELS = list(preset_files("model", INSTALLED))
EXPERIMENTS = [[f"experiment={name}"] for name in preset_files("experiment", INSTALLED)]
EXPERIMENTS += [[*words, "model=videollama2_1_7b_16f"] for words in EXPERIMENTS if "=videollama2/" in words[0]]
CONNECTORS = ("stc", "stc_v35", "stp", "spatial_conv", "spatial_pool", "linear", "mlp", "pool", "qformer")
PRESETS = {
    kind: list(preset_files(kind, INSTALLED))
    for kind in ("encoder", "connector", "audio_encoder", "audio_connector", "llm")
}


@pytest.mark.parametrize("name", MODELS)
def test_every_composition_plans_without_weights(name: str, registry) -> None:
    plan = compose_on_meta(compose("train", [f"model={name}"], registry), registry)
    assert all(count > 0 for count in plan.parameters.values())
    assert {parameter.device.type for parameter in plan.model.parameters()} == {"meta"}


@pytest.mark.parametrize(
    "name, tokens, parameters",
    [
        ("videollama2_7b", 845, 8_021_829_888),
        ("videollama2_7b_16f", 1521, 8_021_829_888),
        ("videollama2_1_7b_16f", 1352, None),
        ("videollama2_72b", 845, None),
    ],
)
def test_token_counts_of_the_released_models(name: str, tokens: int, parameters: int | None, registry) -> None:
    plan = compose_on_meta(compose("train", [f"model={name}"], registry), registry)
    assert typical_tokens(plan.budget, "video", plan.budget.frames) == tokens == typical_tokens(plan.budget, "image", 1)
    assert parameters is None or sum(plan.parameters.values()) == parameters


def test_thirty_seconds_of_sound_are_1496_tokens(registry) -> None:
    plan = compose_on_meta(compose("train", ["model=videollama2_av_7b"], registry), registry)
    assert plan.budget.tokens("audio", (2998, 128)) == 1496


@pytest.mark.parametrize("kind, name", [(kind, name) for kind, names in PRESETS.items() for name in names])
def test_every_preset_plans(kind: str, name: str, registry) -> None:
    overrides = [f"{kind}={name}"] + (["audio_encoder=beats_tiny"] if kind == "audio_connector" else [])
    config = compose("train", [*overrides, "media.frames=8"], registry)
    try:
        assert compose_on_meta(config, registry).parameters[kind] >= 0
    except ConfigError as error:  # a tower that gives a sequence, behind the default connector, or has its own clips
        other = re.search("needs a plane of patches|take (media.frames=4)", str(error))
        assert kind == "encoder" and other, error
        config = compose("train", [*overrides, "media.frames=8", other[1] or "connector=qformer"], registry)
        assert compose_on_meta(config, registry).parameters[kind] >= 0


def swaps() -> list[Any]:
    """Every connector in every experiment; a twentieth of the pairs runs every time."""
    return [
        pytest.param(
            connector,
            words,
            marks=[] if (at + number) % 20 == 0 else pytest.mark.slow,
            id=f"{connector}-{' '.join(words)}",
        )
        for number, words in enumerate(EXPERIMENTS)
        for at, connector in enumerate(CONNECTORS)
    ]


@pytest.mark.parametrize(("connector", "experiment"), swaps())
def test_one_override_swaps_the_connector_of_every_experiment(connector: str, experiment: list[str], registry) -> None:
    # The official context has room for what their own connector makes of 16 frames, and not for every other's.
    many = len(experiment) > 1 or "videollama2_av" in experiment[0]
    room = ["text.max_length=8192"] if many else []
    config = compose("train", [*experiment, f"connector={connector}", *room], registry)
    assert config.connector["name"] == connector and f"experiment={config.name}" == experiment[0]
    try:
        assert typical_tokens(compose_on_meta(config, registry).budget, "video", config.media.frames) > 0
    except ConfigError as error:  # one sentence says why a part of one system does not fit another's
        assert "videollama2" not in experiment[0] and "quickstart" not in experiment[0]
        reasons = "needs a plane of patches|and the context|max_frames|max_length|needs heads that compare"
        assert re.search(reasons, str(error)), error


@pytest.mark.parametrize("llm", ["tiny", "tiny_qwen2", "tiny_mixtral", "tiny_llama", "vicuna_7b", "qwen2_7b_instruct"])
def test_one_override_swaps_the_language_model(llm: str, registry) -> None:
    plan = compose_on_meta(compose("train", ["experiment=quickstart", f"llm={llm}"], registry), registry)
    assert plan.model.parts["connector"].readout[-1].out_features == plan.model.llm.dim


@pytest.mark.parametrize(
    "overrides, words",
    [
        (["connector=null"], ["no connector", "stc", "qformer"]),
        (["media.frames=0"], ["media.frames is 0"]),
        (["media.frames=1", "connector=stc_v35"], ["stc_v35", "does not fit", "vit_tiny"]),
        (["text.max_length=50"], ["context of 50", "media tokens"]),
        (["audio_encoder=beats_tiny", "audio_connector=null"], ["no audio_connector", "mlp"]),
        (["connector=qformer", "connector.width=100", "connector.heads=7"], ["heads", "100"]),
    ],
)
def test_what_does_not_fit_is_explained(overrides: list[str], words: list[str], registry) -> None:
    with pytest.raises(UserError) as error:
        compose_on_meta(compose("train", overrides, registry), registry)
    for word in words:
        assert word in str(error.value)


def test_an_ill_typed_or_unknown_key_is_refused_with_its_name(registry) -> None:
    with pytest.raises(ConfigError, match=r"connector.depth.*four"):
        compose("train", ["connector.depth=four"], registry)
    with pytest.raises(ConfigError, match=r"no key 'media.framse'.*frames"):
        compose("train", ["media.framse=4"], registry)


@pytest.mark.parametrize("command", ["train", "evaluate", "predict"])
def test_primary_configs_compose(command: str, registry) -> None:
    assert compose(command, [], registry) is not None


def test_planning_leaves_no_module_without_data() -> None:
    """A library imported while planning keeps its module-level tensors (torchaudio's kaldi has one)."""
    code = """
import sys
from vlframe.composer.compose import compose, open_registry
from vlframe.model.assemble import compose_on_meta, typical_tokens
registry = open_registry()
assert "torchaudio.compliance.kaldi" not in sys.modules
compose_on_meta(compose("train", ["llm=tiny"], registry), registry)
import torchaudio.compliance.kaldi as kaldi
assert kaldi.EPSILON.device.type == "cpu"
"""
    subprocess.run([sys.executable, "-c", code], check=True)
