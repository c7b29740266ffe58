"""BLIP-2's Q-Former, against LAVIS and Video-LLaMA."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor, nn
from vlframe_qformer import vlframe_components

from vlframe import ConfigError, VideoGrid, load_strict
from vlframe.contracts.meta import meta_build
from vlframe.registry.discovery import Plugin
from vlframe.registry.presets import read_preset
from vlframe.registry.registry import Registry

RECORDINGS = Path(__file__).parents[1] / "recordings" / "connectors"
REGISTRY = Registry([Plugin("qformer", "vlframe", "0", tuple(vlframe_components()))])
BERT = [  # official key -> transformers key, below the Q-Former's prefix
    (r"^embeddings\.LayerNorm", "layernorm"),
    (r"\.attention\.self\.", ".attention.attention."),
    (r"\.crossattention\.self\.", ".crossattention.attention."),
]
OURS = {"query_tokens": "query_tokens", "opt_proj": "language_projection", "ln_vision": "ln_vision"}
OURS_OF_VIDEO = {
    "video_query_tokens": "query_tokens",
    "video_frame_position_embedding": "frame_position",
    "llama_proj": "language_projection",
}


def build(in_dim: int = 6, out_dim: int = 8, **values: Any) -> Any:
    return REGISTRY.build("connector", {"name": "qformer", **values}, in_dim=in_dim, out_dim=out_dim).eval()


def convert(recording: dict[str, Tensor], qformer: str, names: dict[str, str]) -> dict[str, Tensor]:
    """The weights of one Q-Former, with the modules beside it that ``names`` lists, under our keys."""
    weights = {}
    for key, value in recording.items():
        if key.startswith(f"{qformer}.bert."):
            tail = key.removeprefix(f"{qformer}.bert.")
            for pattern, replacement in BERT:
                tail = re.sub(pattern, replacement, tail)
            weights[f"qformer.{tail}"] = value
        elif key.split(".")[0] in names:
            first, *rest = key.split(".")
            weights[".".join([names[first], *rest])] = value
    return weights


@torch.no_grad()
def test_queries_read_an_image_as_in_blip2() -> None:
    recording = load_file(RECORDINGS / "blip2_qformer.safetensors")
    connector = build(
        in_dim=44, out_dim=40, queries=6, depth=4, width=48, heads=4, intermediate=96, cross_attention_frequency=2,
        per_frame=True, frame_position=False,
    )  # fmt: skip
    connector.ln_vision = nn.Identity()  # the recording starts behind it
    load_strict(connector, convert(recording, "Qformer", OURS), "blip2_qformer")
    features = recording["in/image_embeds"][:, None, None]
    torch.testing.assert_close(connector(features), recording["out/language_projection"], atol=2e-5, rtol=1e-4)


def videollama() -> dict[str, torch.Tensor]:
    recording = load_file(RECORDINGS.with_name("prior") / "videollama_visual_branch.safetensors")
    return {name.removeprefix("w/"): value for name, value in recording.items() if "position_ids" not in name}


@torch.no_grad()
def test_every_frame_is_read_as_in_videollama() -> None:
    recording = videollama()
    connector = build(
        in_dim=44, out_dim=48, queries=6, depth=4, width=48, heads=4, intermediate=96, cross_attention_frequency=2,
        per_frame=True, frame_position=False,
    )  # fmt: skip
    connector.language_projection = nn.Identity()
    load_strict(connector, convert(recording, "Qformer", OURS), "videollama_visual_branch")
    features = recording["out/vit_features"].unflatten(0, (2, 3))[:, :, None]
    frames = recording["out/frame_qformer"].unflatten(0, (2, 3)).flatten(1, 2)
    torch.testing.assert_close(connector(features), frames, atol=2e-5, rtol=1e-4)


@torch.no_grad()
def test_all_frames_are_read_together_as_in_videollama() -> None:
    recording = videollama()
    connector = build(in_dim=48, out_dim=40, queries=5, depth=2, width=48, heads=4, intermediate=96)
    connector.ln_vision = nn.Identity()  # the video Q-Former reads the frame Q-Former, without a norm between
    load_strict(connector, convert(recording, "video_Qformer", OURS_OF_VIDEO), "videollama_visual_branch")
    features = recording["out/frame_qformer"].unflatten(0, (2, 3))[:, :, None]
    torch.testing.assert_close(connector(features), recording["out/inputs_llama"], atol=2e-5, rtol=1e-4)


@settings(max_examples=20, deadline=None)
@given(
    st.tuples(*[st.integers(1, 5)] * 3),
    st.integers(1, 4),
    st.integers(1, 3),
    st.booleans(),
    st.booleans(),
)
@torch.no_grad()
def test_tokens_are_exact_for_any_grid(
    shape: tuple[int, int, int], queries: int, frequency: int, per_frame: bool, frame_position: bool
) -> None:
    connector = build(
        queries=queries, cross_attention_frequency=frequency, per_frame=per_frame, frame_position=frame_position
    )
    tokens = connector(torch.randn(2, *shape, 6))
    assert tokens.shape == (2, connector.tokens(VideoGrid(*shape)), 8)


@torch.no_grad()
def test_only_positions_tell_the_order_of_frames() -> None:
    features = torch.randn(1, 4, 2, 2, 96)

    def difference(frame_position: bool) -> float:
        connector = build(in_dim=96, frame_position=frame_position)
        return (connector(features) - connector(features.flip(1))).abs().max().item()

    assert difference(frame_position=False) < 1e-5 < 1e-3 < difference(frame_position=True)


def test_every_parameter_is_trained() -> None:
    connector = build(max_frames=3)
    connector(torch.randn(1, 3, 2, 2, 6)).square().mean().backward()
    assert [name for name, parameter in connector.named_parameters() if parameter.grad is None] == []


def test_the_width_is_the_encoders_rounded_to_the_heads() -> None:
    assert build(in_dim=20, heads=8).query_tokens.shape == (1, 32, 24)
    assert build(in_dim=1024, heads=8, queries=4).query_tokens.shape == (1, 4, 1024)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"width": 100, "heads": 12}, r"connector.width=100 .* connector.heads=12; choose a multiple of 12, like 108"),
        ({"queries": 0}, "connector.queries=0"),
        ({"depth": 0}, "connector.depth=0"),
        ({"cross_attention_frequency": 0}, "connector.cross_attention_frequency=0"),
        ({"width": 0}, "connector.width=0"),
    ],
)
def test_impossible_parameters_are_refused(values: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(**values)


def test_more_frames_than_positions_says_what_to_change() -> None:
    with pytest.raises(ConfigError, match=r"positions for 32 frames, and a clip has 33; set connector.max_frames"):
        build().tokens(VideoGrid(33, 2, 2))
    assert build(frame_position=False).tokens(VideoGrid(33, 2, 2)) == 32


@pytest.mark.parametrize(
    ("preset", "tokens"), [("qformer_tiny", 8), ("qformer_blip2", 8 * 32), ("qformer_videollama", 32)]
)
def test_presets_build_and_count(preset: str, tokens: int) -> None:
    values = read_preset("connector", preset, Registry.installed())
    assert values.pop("name") == "qformer"
    with meta_build():
        connector = build(in_dim=1408, out_dim=4096, **values)
        made = connector(torch.empty(1, 8, 1, 257, 1408))
    assert all(parameter.is_meta for parameter in connector.parameters())
    assert connector.tokens(VideoGrid(8, 1, 257, sequence=True)) == tokens == made.shape[1]


def test_blip2s_numbers_give_its_size() -> None:
    values = read_preset("connector", "qformer_blip2", Registry.installed())
    del values["name"]
    with meta_build():
        connector = build(in_dim=1408, out_dim=4096, **values)
    assert sum(parameter.numel() for parameter in connector.qformer.parameters()) == pytest.approx(105.1e6, rel=1e-3)
