"""The kit for plugin authors: our own components and plugins pass it."""

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.refusals import questions

from vlframe import testing
from vlframe.composer.compose import compose
from vlframe.registry.registry import Registry
from vlframe.testing import check_benchmark, check_dataset, check_objective, check_plugin, check_processor

CHECKS = {kind: getattr(testing, f"check_{kind}") for kind in (
    "encoder", "connector", "audio_encoder", "audio_connector", "llm", "reader",
)}  # fmt: skip
OURS = {
    "encoder": [
        "vit_tiny", "vit_joint_tiny", "clip_tiny", "siglip_tiny", "siglip2_naflex_tiny", "timm_tiny", "videomae_tiny",
        "imagebind_tiny", "eva_tiny", "eva_mhra_tiny", "mplug_owl_vit_tiny", "umt_tiny",
    ],
    "connector": [
        "linear", "mlp", "pool_tiny", "qformer_tiny", "stc_tiny", "stc_v35_tiny", "stp_tiny", "spatial_conv",
        "spatial_pool", "video_qformer_tiny", "audio_qformer_frames_tiny", "qformer_extra_tiny", "mean_pools",
        "abstractor_tiny", "qformer_instruct_tiny", "qformer_instruct_blip2_tiny",
    ],
    "audio_encoder": ["beats_tiny", "imagebind_audio_tiny", "whisper_micro"],
    "audio_connector": ["audio_qformer_tiny", "linear", "mlp"],
    "llm": ["tiny", "tiny_qwen2", "tiny_llama", "tiny_mixtral"],
    "reader": ["auto", "by_suffix", "decord", "pyav"],
}  # fmt: skip


@pytest.mark.parametrize("kind, option", [(kind, option) for kind, options in OURS.items() for option in options])
def test_our_components_keep_their_promises(kind: str, option: str, registry: Registry) -> None:
    config = dict(getattr(compose("train", [f"{kind}={option}"], registry), kind))
    CHECKS[kind](config.pop("name"), config)


def test_the_list_of_ours_is_whole(registry: Registry) -> None:
    for kind, options in OURS.items():
        named = {getattr(compose("train", [f"{kind}={option}"], registry), kind)["name"] for option in options}
        assert named == set(registry.names(kind))


@pytest.mark.parametrize(
    ("name", "run"),
    [("language_modelling", ()), ("blip2_alignment", ("connector=qformer_instruct_blip2_tiny",))],
)
def test_our_objectives(name: str, run: tuple[str, ...]) -> None:
    check_objective(name, run=run)


@pytest.mark.parametrize("kind", ["sampler", "pixels", "checkpoint_format"])
def test_our_other_components(kind: str, registry: Registry) -> None:
    for name in registry.names(kind):
        getattr(testing, f"check_{kind}")(name)


ADDED = 'llm.added_tokens=["<vid_patch>","<vid_start>","<vid_end>"]'  # what one of them writes around a medium


def test_our_processors(registry: Registry) -> None:
    for name in registry.names("processor"):
        check_processor(name, run=[ADDED] if name == "videochatgpt" else [])


@pytest.mark.slow  # composes each preset, which others plan
def test_our_plugins_and_presets_are_sound() -> None:
    check_plugin("vlframe")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("motionqa")
    return {"split": "validation", "clips": 4, "folder": str(folder)}


def test_our_generated_data_set(clips: dict[str, Any]) -> None:
    check_dataset("motionqa", clips)
    check_benchmark("exact_match", dataset={"name": "motionqa", **clips})


def test_our_manifests(tmp_path: Path) -> None:
    rows = [
        {"id": f"q{i}", "conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": f"For {i}."}]}
        for i in range(5)
    ]
    manifest = tmp_path / "rows.json"
    manifest.write_text(json.dumps(rows))
    check_dataset("conversations", {"path": str(manifest)})


@pytest.mark.parametrize("name", ["multiple_choice", "exact_match", "free_text"])
def test_our_benchmarks(name: str) -> None:
    check_benchmark(name, dataset=questions())
