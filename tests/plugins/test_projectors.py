"""Linear, MLP and pooling connectors, and the audio ones."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch.nn import functional as F
from vlframe_projectors import vlframe_components

from vlframe import ConfigError, VideoGrid, load_strict
from vlframe.contracts.meta import meta_build
from vlframe.registry.discovery import Plugin
from vlframe.registry.presets import read_preset
from vlframe.registry.registry import Registry

RECORDINGS = Path(__file__).parents[1] / "recordings" / "connectors"
REGISTRY = Registry([Plugin("projectors", "vlframe", "0", tuple(vlframe_components()))])


def build(name: str, kind: str = "connector", in_dim: int = 6, out_dim: int = 8, **values: Any) -> Any:
    return REGISTRY.build(kind, {"name": name, **values}, in_dim=in_dim, out_dim=out_dim)


@pytest.mark.parametrize("name", ["linear", "mlp"])
@torch.no_grad()
def test_videos_and_images_give_the_official_tokens(name: str) -> None:
    recording = load_file(RECORDINGS / f"{name}.safetensors")
    prefix = "model.mm_projector."
    connector = build(name, in_dim=64, out_dim=96)
    weights = {key.removeprefix(prefix): value.float() for key, value in recording.items() if key.startswith(prefix)}
    load_strict(connector, weights, name)
    for media in ("video", "image"):
        tokens = connector(recording[f"features/{media}"].unflatten(1, (4, 4))[None])[0]
        torch.testing.assert_close(tokens, recording[f"tokens/{media}"], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_sound_gives_the_official_tokens() -> None:
    recording = load_file(RECORDINGS / "sound_mlp.safetensors")
    prefix = "model.mm_projector_a."
    connector = build("mlp", "audio_connector", in_dim=64, out_dim=96)
    weights = {key.removeprefix(prefix): value.float() for key, value in recording.items() if key.startswith(prefix)}
    load_strict(connector, weights, "sound_mlp")
    tokens = connector(recording["features/sound"])
    assert tokens.shape[1] == connector.tokens(recording["features/sound"].shape[1])
    torch.testing.assert_close(tokens, recording["tokens/sound"], atol=1e-5, rtol=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(["linear", "mlp", "pool"]), st.tuples(*[st.integers(1, 9)] * 3), st.booleans())
@torch.no_grad()
def test_tokens_are_exact_for_any_grid(name: str, shape: tuple[int, int, int], sequence: bool) -> None:
    grid = VideoGrid(shape[0], 1 if sequence else shape[1], shape[2], sequence)
    connector = build(name)
    tokens = connector(torch.randn(2, grid.frames, grid.height, grid.width, 6))
    assert tokens.shape == (2, connector.tokens(grid), 8)


@settings(max_examples=30, deadline=None)
@given(st.tuples(*[st.integers(1, 9)] * 3), st.tuples(*[st.integers(1, 5)] * 3))
@torch.no_grad()
def test_pool_averages_as_torch_does(shape: tuple[int, int, int], target: tuple[int, int, int]) -> None:
    connector = build("pool", frames=target[0], height=target[1], width=target[2])
    features = torch.randn(2, *shape, 6)
    size = tuple(map(min, shape, target))
    averaged = F.adaptive_avg_pool3d(features.movedim(-1, 1), size).flatten(2).transpose(1, 2)
    torch.testing.assert_close(connector(features), connector.readout(averaged), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["linear", "mlp"])
def test_the_order_of_frames_is_lost(name: str) -> None:
    connector = build(name)
    features = torch.randn(1, 4, 2, 2, 6)
    torch.testing.assert_close(connector(features.flip(1)), connector(features), atol=1e-6, rtol=1e-5)


def test_an_image_is_a_clip_of_equal_frames() -> None:
    image = torch.randn(1, 1, 3, 3, 6)
    clip = image.expand(-1, 8, -1, -1, -1)
    for name in ("linear", "mlp"):
        connector = build(name)
        assert not connector.expands_images
        torch.testing.assert_close(connector(image), connector(clip), atol=1e-6, rtol=1e-5)
    pool = build("pool")  # the clip gives the image's tokens once for each of its four steps
    torch.testing.assert_close(pool(image).repeat(1, 4, 1), pool(clip), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", ["connector", "audio_connector"])
def test_depth_and_hidden_shape_the_mlp(kind: str) -> None:
    shapes = {key: tuple(value.shape) for key, value in build("mlp", kind, depth=3, hidden=12).state_dict().items()}
    assert {key: shape for key, shape in shapes.items() if key.endswith("weight")} == {
        "0.weight": (12, 6),
        "2.weight": (12, 12),
        "4.weight": (8, 12),
    }


def test_the_linear_audio_connector_maps_each_step() -> None:
    connector = build("linear", "audio_connector")
    assert connector(torch.randn(2, 5, 6)).shape == (2, connector.tokens(5), 8)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("mlp", {"depth": 0}, "depth=0"),
        ("mlp", {"hidden": 0}, "hidden=0"),
        ("pool", {"frames": 0}, "frames=0"),
    ],
)
def test_impossible_parameters_are_refused(name: str, values: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(name, **values)


@pytest.mark.parametrize("name", ["linear", "mlp", "pool"])
def test_a_plan_needs_no_memory(name: str) -> None:
    with meta_build():
        connector = build(name, in_dim=1024, out_dim=4096)
        tokens = connector(torch.empty(1, 8, 24, 24, 1024))
    assert all(parameter.is_meta for parameter in connector.parameters())
    assert tokens.shape == (1, connector.tokens(VideoGrid(8, 24, 24)), 4096)


def test_the_tiny_preset_of_pool() -> None:
    values = read_preset("connector", "pool_tiny", Registry.installed())
    assert build(values.pop("name"), **values).tokens(VideoGrid(8, 6, 6)) == 16
