"""VideoLLaMA 2's spatial-temporal connectors."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor
from vlframe_stc import vlframe_components

from vlframe import ConfigError, VideoGrid, load_strict
from vlframe.contracts.meta import meta_build
from vlframe.registry.discovery import Plugin
from vlframe.registry.presets import read_preset
from vlframe.registry.registry import Registry

RECORDINGS = Path(__file__).parents[1] / "recordings" / "connectors"
REGISTRY = Registry([Plugin("stc", "vlframe", "0", tuple(vlframe_components()))])
ROWS = ("stc", "stc_v35", "stp", "spatial_conv", "spatial_pool")
PREFIX = "model.mm_projector."


def build(name: str, in_dim: int = 6, out_dim: int = 8, **values: Any) -> Any:
    torch.manual_seed(0)
    return REGISTRY.build("connector", {"name": name, **values}, in_dim=in_dim, out_dim=out_dim).eval()


def recorded(name: str) -> tuple[Any, dict[str, Tensor]]:
    """The connector with the recorded weights, and the recording."""
    recording = load_file(RECORDINGS / f"{name}.safetensors")
    weights = {key.removeprefix(PREFIX): value.float() for key, value in recording.items() if key.startswith(PREFIX)}
    connector = build(name, in_dim=recording["features/video"].shape[-1], out_dim=96)
    load_strict(connector, weights, name)
    return connector, recording


def plane(features_TND: Tensor) -> Tensor:
    """Patches of 4x4: ``features_1THWD``."""
    return features_TND.unflatten(1, (4, 4))[None]


@pytest.mark.parametrize("name", ROWS)
@torch.no_grad()
def test_a_video_gives_the_official_tokens(name: str) -> None:
    connector, recording = recorded(name)
    tokens = connector(plane(recording["features/video"]))[0]
    torch.testing.assert_close(tokens, recording["tokens/video"], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ROWS)
@torch.no_grad()
def test_an_image_gives_the_official_tokens_either_way(name: str) -> None:
    connector, recording = recorded(name)
    image = plane(recording["features/image"])
    official = recording["tokens/image"][None]
    torch.testing.assert_close(connector(image.expand(-1, 8, -1, -1, -1)), official, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(connector.still(image[:, 0], 8), official, atol=1e-5, rtol=1e-5)


def test_the_published_token_counts() -> None:
    def tokens(name: str, *grid: int) -> int:
        return build(name).tokens(VideoGrid(*grid))

    assert tokens("stc", 8, 24, 24) == 845
    assert tokens("stc_v35", 8, 24, 24) == 576
    assert tokens("stc_v35", 16, 27, 27) == 1352
    assert tokens("stp", 8, 24, 24) == 576
    assert tokens("spatial_conv", 8, 24, 24) == 10 * 13 * 13
    assert tokens("spatial_pool", 8, 24, 24) == 8 * 12 * 12


shapes = st.tuples(st.integers(1, 9), st.integers(1, 7), st.integers(1, 7))
variants = st.fixed_dictionaries(
    {
        "depth": st.integers(0, 2),
        "sampler": st.sampled_from(["conv", "average"]),
        "stride": st.lists(st.integers(1, 3), min_size=3, max_size=3),
        "padding": st.integers(0, 2),
        "mlp_depth": st.integers(1, 3),
    }
)


@settings(max_examples=40, deadline=None)
@given(shapes, variants)
@torch.no_grad()
def test_tokens_are_exact_and_a_still_is_a_clip_of_equal_frames(shape: tuple[int, int, int], variant: dict) -> None:
    connector = build("stc", **variant)
    image = torch.randn(2, *shape[1:], 6)
    try:
        count = connector.tokens(VideoGrid(*shape))
    except ConfigError:
        sizes = [size + 2 * variant["padding"] for size in shape]
        assert any(size < stride for size, stride in zip(sizes, variant["stride"], strict=True))
        return
    tokens = connector(image[:, None].expand(-1, shape[0], -1, -1, -1))
    assert tokens.shape == (2, count, 8)
    torch.testing.assert_close(connector.still(image, shape[0]), tokens, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("sampler", ["conv", "average"])
def test_gradients_of_a_still_are_those_of_the_clip(sampler: str) -> None:
    connector = build("stc", depth=1, sampler=sampler)
    image = torch.randn(1, 4, 4, 6)

    def gradients(tokens: Tensor) -> list[Tensor]:
        return list(torch.autograd.grad(tokens.square().mean(), list(connector.parameters())))

    clip = gradients(connector(image[:, None].expand(-1, 5, -1, -1, -1)))
    torch.testing.assert_close(gradients(connector.still(image, 5)), clip, atol=1e-5, rtol=1e-4)


def test_checkpointing_changes_what_is_kept_and_not_the_gradients() -> None:
    features = torch.randn(1, 4, 4, 4, 6)
    results = []
    for recompute in (False, True):
        kept = 0

        def keep(tensor: Tensor) -> Tensor:
            nonlocal kept
            kept += tensor.numel()
            return tensor

        connector = build("stc", depth=2)
        if recompute:
            connector.enable_gradient_checkpointing()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = connector(features).square().mean()
        results.append((kept, torch.autograd.grad(loss, list(connector.parameters()))))
    (kept_all, plain), (kept_few, recomputed) = results
    assert kept_few < kept_all / 2
    torch.testing.assert_close(recomputed, plain, atol=0, rtol=0)


def test_every_clip_of_a_batch_is_read_by_itself() -> None:
    connector = build("stc")
    features = torch.randn(3, 4, 5, 5, 6)
    alone = torch.cat([connector(clip[None]) for clip in features])
    torch.testing.assert_close(connector(features), alone, atol=1e-5, rtol=1e-5)


def test_widths_follow_neighbours_unless_hidden_is_given() -> None:
    state = build("stc", depth=2, hidden=12).state_dict()
    assert state["s1.b1.conv1.conv.weight"].shape == (12, 6, 1, 1)
    assert state["sampler.0.weight"].shape == (12, 12, 2, 2, 2)
    assert state["readout.2.weight"].shape == (8, 8)
    assert state["s1.b1.se.fc1.weight"].shape[0] == round(0.25 * 6)
    assert "s1.b1.downsample.conv.weight" not in build("stc", in_dim=8, depth=1).state_dict()
    assert build("spatial_conv").state_dict()["sampler.0.weight"].shape == (6, 6, 1, 2, 2)


def test_a_grid_that_does_not_fit_says_what_to_change() -> None:
    with pytest.raises(ConfigError, match=r"1x24x24 .* 2x2x2 with padding 0; give more frames \(media.frames\)"):
        build("stc_v35").tokens(VideoGrid(1, 24, 24))
    with pytest.raises(ConfigError, match=r"a sequence of 577 features a frame; .* linear, mlp, qformer"):
        build("stc").tokens(VideoGrid(8, 1, 577, sequence=True))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sampler": "max"}, "connector.sampler='max' is unknown; there are conv, average"),
        ({"stride": [2, 2]}, "three numbers"),
        ({"stride": [0, 2, 2]}, "at least 1"),
        ({"padding": -1}, "padding=-1"),
        ({"mlp_depth": 0}, "mlp_depth=0"),
        ({"squeeze_ratio": 0.0}, "squeeze_ratio=0.0"),
        ({"depth": 0, "hidden": 16}, "hidden=null"),
    ],
)
def test_impossible_parameters_are_refused(values: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build("stc", **values)


@pytest.mark.parametrize("name", ROWS)
def test_a_plan_needs_no_memory(name: str) -> None:
    with meta_build():
        connector = build(name, in_dim=1024, out_dim=4096)
        tokens = connector(torch.empty(1, 8, 24, 24, 1024))
    assert all(parameter.is_meta for parameter in connector.parameters())
    assert tokens.shape == (1, connector.tokens(VideoGrid(8, 24, 24)), 4096)


@pytest.mark.parametrize("preset", ["stc_tiny", "stc_v35_tiny", "stp_tiny"])
def test_presets_inherit_their_row(preset: str) -> None:
    values = read_preset("connector", preset, Registry.installed())
    row = values.pop("name")
    assert build(row, **values).tokens(VideoGrid(8, 6, 6)) == build(row).tokens(VideoGrid(8, 6, 6))
