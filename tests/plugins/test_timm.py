"""timm models as encoders, and torchvision's MobileNetV2 through the table of names."""

import builtins
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from vlframe_timm.encoder import Timm

from vlframe import ConfigError, WeightsError
from vlframe.contracts.meta import meta_build
from vlframe.registry.presets import read_preset
from vlframe.registry.registry import Registry

ROOT = Path(__file__).parents[2]
CONVOLUTIONAL, TRANSFORMER = "test_efficientnet", "test_vit"


def build(model: str, **changes: Any) -> Timm:
    return Timm(**({"model": model, "source": None, "level": None, "size": None, "resize": "crop"} | changes)).eval()


@settings(max_examples=10, deadline=None)
@given(
    model=st.sampled_from([CONVOLUTIONAL, TRANSFORMER, "test_resnet", "test_convnext"]),
    level=st.sampled_from([None, -1, 0, 2]),
    size=st.sampled_from([None, 64, 96]),
    frames=st.integers(1, 2),
)
def test_the_grid_is_the_shape_of_the_features(model: str, level: int | None, size: int | None, frames: int) -> None:
    encoder = build(model, level=level, size=size).to(torch.bfloat16)
    with torch.no_grad():
        features = encoder(torch.randn(2, frames, 3, encoder.pixels.size, encoder.pixels.size))
    grid = encoder.grid(frames, 48, 48)
    assert features.shape == (2, frames, grid.height, grid.width, encoder.dim)
    assert features.dtype == torch.bfloat16
    assert encoder.pixels.size == size or size is None


@pytest.mark.parametrize("model", [CONVOLUTIONAL, TRANSFORMER])
def test_final_features_lie_where_the_model_puts_them(model: str, tmp_path: Path) -> None:
    own = timm.create_model(model).eval()
    save_file(own.state_dict(), tmp_path / "own.safetensors")
    encoder = build(model, source=str(tmp_path / "own.safetensors"))
    size = encoder.pixels.size
    pixels = torch.randn(1, 1, 3, size, size)
    with torch.no_grad():
        found_HWD = encoder(pixels)[0, 0]
        theirs = own.forward_features(pixels[0])[0]
    if model == TRANSFORMER:
        expected_HWD = theirs[own.num_prefix_tokens :].reshape(10, 10, -1)
    else:
        expected_HWD = theirs.permute(1, 2, 0)
    torch.testing.assert_close(found_HWD, expected_HWD)


@pytest.mark.parametrize(
    ("model", "dim", "grid"),
    [
        ("swin_tiny_patch4_window7_224", 768, "2x7x7"),  # gives features_NHWD
        ("vit_base_patch16_siglip_224", 768, "2x14x14"),  # no class token
        ("deit_tiny_distilled_patch16_224", 192, "2x14x14"),  # two class tokens
        ("convnext_tiny", 768, "2x7x7"),
    ],
)
def test_every_layout_becomes_a_grid(model: str, dim: int, grid: str) -> None:
    with meta_build():
        encoder = build(model)
        features = encoder(torch.empty(1, 2, 3, 224, 224))
    assert (encoder.dim, str(encoder.grid(2, 48, 48))) == (dim, grid)
    assert "x".join(map(str, features.shape[1:])) == f"{grid}x{dim}"


@pytest.mark.parametrize("model", [CONVOLUTIONAL, TRANSFORMER])
def test_a_level_is_timms_own_feature_map_and_later_blocks_are_dropped(model: str, tmp_path: Path) -> None:
    own = timm.create_model(model).eval()
    save_file(own.state_dict(), tmp_path / "own.safetensors")
    encoder = build(model, source=str(tmp_path / "own.safetensors"), level=1)
    pixels = torch.randn(1, 2, 3, 160, 160)
    with torch.no_grad():
        expected_NDHW = own.forward_intermediates(pixels[0], intermediates_only=True)[1]
        found_NHWD = encoder(pixels)[0]
    torch.testing.assert_close(found_NHWD, expected_NDHW.permute(0, 2, 3, 1))
    assert len(encoder.state_dict()) < len(own.state_dict()) / 2


def test_torchvisions_mobilenet_is_timms(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = torchvision.models.mobilenet_v2().eval()
    for module in theirs.modules():  # statistics of their own, so that a swapped norm would show
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
            torch.nn.init.normal_(module.weight, 1.0, 0.2)
            torch.nn.init.normal_(module.bias, std=0.2)
    torch.save(theirs.state_dict(), tmp_path / "mobilenet_v2.pth")
    encoder = build("mobilenetv2_100", source=str(tmp_path / "mobilenet_v2.pth"), size=64)
    pixels = torch.randn(1, 2, 3, 64, 64)
    with torch.no_grad():
        expected_NDHW = theirs.features(pixels[0])
        found_NHWD = encoder(pixels)[0]
    assert encoder.dim == 1280
    assert not any("classifier" in key for key in encoder.state_dict())
    torch.testing.assert_close(found_NHWD, expected_NDHW.permute(0, 2, 3, 1), atol=1e-4, rtol=1e-4)


def test_a_classifier_of_another_size_does_not_matter(tmp_path: Path) -> None:
    own = timm.create_model(CONVOLUTIONAL, num_classes=7).eval()
    torch.save({"state_dict": own.state_dict()}, tmp_path / "own.pth")
    encoder = build(CONVOLUTIONAL, source=str(tmp_path / "own.pth"))
    torch.testing.assert_close(encoder.model.conv_stem.weight, own.conv_stem.weight)


def test_weights_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match="timm's weights of test_efficientnet"):
        build(CONVOLUTIONAL, source="pretrained")


def test_loading_is_strict(tmp_path: Path) -> None:
    weights = timm.create_model(CONVOLUTIONAL).state_dict()
    weights["strange"] = weights.pop("conv_stem.weight")
    save_file(weights, tmp_path / "broken.safetensors")
    with pytest.raises(WeightsError, match=r"1 missing: conv_stem\.weight; 1 unexpected: strange"):
        build(CONVOLUTIONAL, source=str(tmp_path / "broken.safetensors"))
    torch.save({"state_dict": weights, "code": Path}, tmp_path / "pickled.pth")
    with pytest.raises(WeightsError, match="cannot be read as weights"):
        build(CONVOLUTIONAL, source=str(tmp_path / "pickled.pth"))
    with pytest.raises(WeightsError, match="no such file"):
        build(CONVOLUTIONAL, source=str(tmp_path / "absent.pth"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "mobilenetv2_1000"}, "timm has no model 'mobilenetv2_1000'. Did you mean .*'mobilenetv2_100'"),
        ({"level": 9}, "has no level 9"),
        ({"model": TRANSFORMER, "size": 100}, "size=100"),
        ({"resize": "stretch"}, "crop, squash, pad"),
    ],
)
def test_impossible_parameters_are_explained(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(**({"model": CONVOLUTIONAL} | changes))


def test_pixels_are_the_models_own() -> None:
    pixels = build(CONVOLUTIONAL).pixels
    own = timm.create_model(CONVOLUTIONAL).pretrained_cfg
    assert (pixels.size, pixels.mean, pixels.std, pixels.resampling) == (160, own["mean"], own["std"], "bicubic")


def test_frozen_batch_norms_stay_as_they_are() -> None:
    encoder = build(CONVOLUTIONAL)
    before = encoder.model.bn1.running_mean.clone()
    encoder(torch.randn(1, 2, 3, 160, 160))
    torch.testing.assert_close(encoder.model.bn1.running_mean, before, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "dim", "grid"),
    [("mobilenet_v2", 1280, "8x7x7"), ("dinov2_b_224", 768, "8x16x16"), ("timm_tiny", 256, "8x5x5")],
)
def test_presets_are_planned_without_a_file(name: str, dim: int, grid: str, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = Registry.installed()
    config = read_preset("encoder", name, registry)
    with meta_build():
        registry.build("encoder", config)  # the first time imports what it needs

        def refuse(*args: Any, **kwargs: Any) -> None:
            raise AssertionError(f"planning opened {args[0]}")

        monkeypatch.setattr(builtins, "open", refuse)
        monkeypatch.setattr("socket.socket.connect", refuse)
        encoder = registry.build("encoder", config)
    assert (encoder.dim, str(encoder.grid(8, 48, 48))) == (dim, grid)
    assert all(parameter.is_meta for parameter in encoder.parameters())
