"""CLIP and SigLIP towers, element by element against the official code and against transformers' full models."""

import builtins
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import CLIPVisionConfig, CLIPVisionModel, SiglipVisionConfig, SiglipVisionModel
from vlframe_clip.clip import Clip
from vlframe_clip.siglip import Siglip

from vlframe import ConfigError, WeightsError, load_strict
from vlframe.contracts.meta import meta_build
from vlframe.registry.presets import read_preset
from vlframe.registry.registry import Registry

ROOT = Path(__file__).parents[2]
RECORDINGS = ROOT / "tests" / "recordings" / "encoders"
SMALL = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 30,
    "patch_size": 14,
}
CLASSES = {"clip": Clip, "siglip": Siglip}
FULL = {"clip": (CLIPVisionConfig, CLIPVisionModel), "siglip": (SiglipVisionConfig, SiglipVisionModel)}


def build(name: str, **changes: Any) -> torch.nn.Module:
    params = {"source": None, "architecture": SMALL, "layer": -2, "select": "patch", "resize": "squash"}
    return CLASSES[name](**(params | changes)).eval()


def preset(name: str) -> dict[str, Any]:
    return read_preset("encoder", name, Registry.installed())


def save_full(name: str, folder: Path) -> torch.nn.Module:
    """transformers' own model of random weights, saved the way a vision-only checkpoint is."""
    config, model = FULL[name]
    torch.manual_seed(0)
    full = model(config(**SMALL)).eval()
    full.save_pretrained(folder)
    return full


@pytest.mark.parametrize("name", CLASSES)
def test_features_equal_the_official_tower(name: str) -> None:
    recorded = load_file(RECORDINGS / f"{name}.safetensors")
    with safe_open(RECORDINGS / f"{name}.safetensors", "pt") as file:
        architecture = json.loads(file.metadata()["architecture"])
    weights = {key[2:]: value.float() for key, value in recorded.items() if key.startswith("w/")}
    expected = {(-2, "patch"): recorded["features"], (0, "patch"): recorded["hidden_state_0"]}
    if name == "clip":
        last, first = recorded["last_hidden_state"], recorded["hidden_state_0"]
        expected = {
            (-2, "patch"): recorded["features"],
            (-1, "patch"): last[:, 1:],
            (3, "cls_patch"): last,
            (-4, "cls_patch"): first,
        }
    for (layer, select), features_TPD in expected.items():
        encoder = build(name, architecture=architecture, layer=layer, select=select)
        ours = encoder.state_dict()
        load_strict(encoder, {key: value for key, value in weights.items() if key in ours}, "recording")
        with torch.no_grad():
            found_BTHWD = encoder(recorded["pixels"][None])
        grid = encoder.grid(3, 48, 48)
        assert found_BTHWD.shape == (1, 3, grid.height, grid.width, 64 if name == "clip" else 72)
        torch.testing.assert_close(found_BTHWD.flatten(2, 3)[0], features_TPD, atol=5e-6, rtol=1e-5)


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("layer", [-4, -2, 2, 3])
def test_a_loaded_tower_is_the_hidden_state_of_the_full_model(name: str, layer: int, tmp_path: Path) -> None:
    full = save_full(name, tmp_path)
    encoder = build(name, source=str(tmp_path), layer=layer)
    pixels_BTCYX = torch.randn(2, 3, 3, 30, 30)
    with torch.no_grad():
        hidden = full(pixels_BTCYX.flatten(0, 1), output_hidden_states=True).hidden_states[layer]
        features = encoder(pixels_BTCYX)
    patches = hidden[:, 1:] if name == "clip" else hidden
    torch.testing.assert_close(features, patches.reshape(2, 3, 2, 2, 32), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", CLASSES)
def test_parts_after_the_hidden_state_are_not_kept(name: str) -> None:
    keys = build(name, layer=-3).state_dict().keys()
    assert {key.split(".")[2] for key in keys if key.startswith("encoder.")} == {"0"}
    assert not any(key.startswith(("post_layernorm", "head")) for key in keys)


@pytest.mark.parametrize("name", CLASSES)
def test_a_checkpoint_with_a_text_tower_loads(name: str, tmp_path: Path) -> None:
    full = save_full(name, tmp_path)
    weights = {f"vision_model.{key}": value for key, value in full.state_dict().items()}
    weights |= {"text_model.final_layer_norm.weight": torch.ones(5), "logit_scale": torch.ones(())}
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    json_config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({"model_type": name, "vision_config": json_config}))
    encoder = build(name, source=str(tmp_path), architecture={})
    for key, value in encoder.state_dict().items():
        torch.testing.assert_close(value, full.state_dict()[key], rtol=0, atol=0)


def test_loading_keeps_the_default_dtype(tmp_path: Path) -> None:
    save_full("clip", tmp_path).half().save_pretrained(tmp_path)
    assert next(build("clip", source=str(tmp_path)).parameters()).dtype == torch.float32


def test_a_missing_weight_is_an_error(tmp_path: Path) -> None:
    save_full("clip", tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["encoder.layers.1.mlp.fc1.bias"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=r"lacks 1 weights of CLIPVisionModel: encoder\.layers\.1\.mlp\.fc1\.bias"):
        build("clip", source=str(tmp_path))


def test_a_misshapen_weight_is_an_error(tmp_path: Path) -> None:
    save_full("siglip", tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights["encoder.layers.0.mlp.fc1.bias"] = torch.zeros(7)
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match="cannot be read"):
        build("siglip", source=str(tmp_path))


def test_pickled_code_is_not_run(tmp_path: Path) -> None:
    full = save_full("clip", tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(full.state_dict(), tmp_path / "pytorch_model.bin")
    assert build("clip", source=str(tmp_path)).dim == 32
    torch.save(full.state_dict() | {"code": Path}, tmp_path / "pytorch_model.bin")
    with pytest.raises(WeightsError, match="cannot be read"):
        build("clip", source=str(tmp_path))


def test_a_source_that_disagrees_is_named_field_by_field(tmp_path: Path) -> None:
    save_full("clip", tmp_path)
    with pytest.raises(ConfigError, match=r"hidden_size is 64, there 32; num_attention_heads is 4, there 2"):
        build("clip", source=str(tmp_path), architecture=SMALL | {"hidden_size": 64, "num_attention_heads": 4})
    incomplete = {key: value for key, value in SMALL.items() if key != "image_size"}
    with pytest.raises(ConfigError, match="image_size is 224, there 30"):
        build("clip", source=str(tmp_path), architecture=incomplete)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("siglip", {"select": "cls_patch"}, "has no class token"),
        ("clip", {"select": "cls"}, "select is 'cls'; it can be patch or cls_patch"),
        ("clip", {"resize": "stretch"}, "crop, squash, pad"),
        ("clip", {"layer": 4}, "3 blocks have hidden states -4 to 3"),
        ("clip", {"architecture": {}}, "architecture is empty"),
        ("clip", {"architecture": SMALL | {"hiden_size": 3}}, "hiden_size, which CLIPVisionConfig does not know"),
    ],
)
def test_impossible_parameters_are_explained(name: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(name, **changes)


def test_a_source_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match="nowhere/nothing"):
        build("clip", source="nowhere/nothing")


@settings(max_examples=8, deadline=None)
@given(
    name=st.sampled_from(["clip", "siglip"]),
    size=st.integers(8, 40),
    patch=st.integers(3, 8),
    frames=st.integers(1, 3),
    whole=st.booleans(),
)
def test_the_grid_is_the_shape_of_the_features(name: str, size: int, patch: int, frames: int, whole: bool) -> None:
    architecture = SMALL | {"image_size": size, "patch_size": patch, "num_hidden_layers": 1}
    select = "cls_patch" if whole and name == "clip" else "patch"
    encoder = build(name, architecture=architecture, select=select, layer=-1).to(torch.bfloat16)
    with torch.no_grad():
        features = encoder(torch.randn(2, frames, 3, size, size))
    grid = encoder.grid(frames, 48, 48)
    assert features.shape == (2, grid.frames, grid.height, grid.width, encoder.dim)
    assert grid.sequence == (select == "cls_patch")
    assert features.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("name", "dim", "grid", "blocks"),
    [
        ("clip_l_336", 1024, "8x24x24", 23),
        ("clip_l_224", 1024, "8x16x16", 23),
        ("clip_b_224", 768, "8x14x14", 11),
        ("siglip_so400m_384", 1152, "8x27x27", 26),
        ("clip_tiny", 64, "8x4x4", 2),
        ("siglip_tiny", 72, "8x4x4", 2),
    ],
)
def test_presets_are_planned_without_a_file(
    name: str, dim: int, grid: str, blocks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry, config = Registry.installed(), preset(name)
    with meta_build():
        registry.build("encoder", config)  # the first time imports what it needs

        def refuse(*args: Any, **kwargs: Any) -> None:
            raise AssertionError(f"planning opened {args[0]}")

        monkeypatch.setattr(builtins, "open", refuse)
        monkeypatch.setattr("socket.socket.connect", refuse)
        encoder = registry.build("encoder", config)
    assert (encoder.dim, str(encoder.grid(8, 48, 48)), len(encoder.encoder.layers)) == (dim, grid, blocks)
    assert all(parameter.is_meta for parameter in encoder.parameters())


def test_pixels_are_those_of_the_published_processors() -> None:
    clip, siglip = build("clip").pixels, build("siglip").pixels
    assert (clip.size, clip.mean[0], clip.std[2], clip.resampling) == (30, 0.48145466, 0.27577711, "bicubic")
    assert (siglip.mean, siglip.std, siglip.resampling) == ((0.5,) * 3, (0.5,) * 3, "bicubic")
    registry = Registry.installed()
    fits = {name: registry.check("encoder", {"name": name})["resize"] for name in CLASSES}
    assert fits == {"clip": "crop", "siglip": "squash"}
