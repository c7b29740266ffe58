"""EVA's ViT, with and without UniFormerV2's aggregators, and the Q-Formers behind it: recorded numbers and grids."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from vlframe_eva import MHRAParams, ViTParams
from vlframe_eva.mhra import EvaViTMHRA
from vlframe_eva.vit import EvaViT
from vlframe_qformer.audio import AudioQFormer
from vlframe_qformer.extra import QFormerExtra
from vlframe_qformer.video import VideoQFormer

from vlframe import ConfigError

PRIOR = Path(__file__).parents[1] / "recordings" / "prior"
MORE = Path(os.environ.get("VLFRAME_PRIOR_RECORDINGS", "../shared/goldens/prior"))
OURS = {
    "video_query_tokens": "video_query_tokens",
    "audio_query_tokens": "query_tokens",
    "query_tokens": "query_tokens",
    "extra_query_tokens": "extra_query_tokens",
    "video_frame_position_embedding.weight": "frame_position.weight",
    "audio_position_embedding.weight": "step_position.weight",
    **{f"{theirs}llama_proj.{kind}": f"projection.{kind}" for theirs in ("", "audio_") for kind in ("weight", "bias")},
}
QFORMERS = {"Qformer": "qformer", "video_Qformer": "video_qformer", "audio_Qformer": "qformer"}


def recorded(name: str) -> tuple[dict[str, Any], dict[str, Tensor], dict[str, Tensor]]:
    """The sizes of a recording, its weights, and its inputs and outputs."""
    found = next((folder / name for folder in (PRIOR, MORE) if (folder / f"{name}.json").is_file()), None)
    if found is None:
        pytest.skip(f"no recording {name}")
    tensors = load_file(found.with_suffix(".safetensors"))
    weights = {key.removeprefix("w/"): value for key, value in tensors.items() if key.startswith("w/")}
    return json.loads(found.with_suffix(".json").read_text())["config"], weights, tensors


def tower(kind: type[nn.Module], sizes: dict[str, Any], weights: dict[str, Tensor], **more: Any) -> Any:
    defaults = asdict(MHRAParams() if kind is EvaViTMHRA else ViTParams())
    built = kind(
        **{
            **defaults, "hidden_size": sizes["vit"], "num_hidden_layers": sizes.get("depth", sizes.get("vit_depth")),
            "intermediate_size": weights["visual_encoder.blocks.0.mlp.fc1.weight"].shape[0],
            "num_attention_heads": sizes["vit_heads"], "image_size": sizes["img"], **more,
        }
    ).eval()  # fmt: skip
    kept = {name: value for name, value in weights.items() if name.startswith(("visual_encoder", "ln_vision"))}
    built.load_state_dict(kept)
    return built


def connector(kind: type[nn.Module], sizes: dict[str, Any], weights: dict[str, Tensor], **more: Any) -> Any:
    built = kind(
        out_dim=sizes["llm"], width=sizes["h"], heads=sizes["heads"], intermediate=sizes["inter"], dropout=0.1, **more
    ).eval()
    state = {OURS[name]: value for name, value in weights.items() if name in OURS}
    for name, value in weights.items():
        theirs, _, rest = name.partition(".bert.")
        if rest and rest != "embeddings.position_ids":
            rest = rest.replace("embeddings.LayerNorm", "layernorm").replace("attention.self.", "attention.attention.")
            state[f"{QFORMERS[theirs]}.{rest}"] = value
    built.load_state_dict(state)
    return built


def check(ours: Tensor, theirs: Tensor) -> None:
    """To 2e-5, or as much of the largest value where that is large: without a norm, random towers grow to millions."""
    torch.testing.assert_close(ours, theirs, atol=2e-5 * max(1.0, float(theirs.abs().max()) / 10), rtol=1e-4)


@torch.no_grad()
def test_the_visual_branch_of_video_llama_is_met() -> None:
    sizes, weights, tensors = recorded("videollama_visual_branch")
    encoder = tower(EvaViT, sizes, weights)
    joined = connector(
        VideoQFormer, sizes, weights, in_dim=sizes["vit"], queries=sizes["nq"], depth=sizes["layers"],
        cross_attention_frequency=2, video_queries=sizes["nvq"], video_depth=2, max_frames=sizes["max_frame_pos"],
    )  # fmt: skip
    pixels_BTCYX = tensors["in/video_bcthw"].transpose(1, 2)
    features_BTHWD = encoder(pixels_BTCYX)
    check(encoder.intermediates(pixels_BTCYX)["vit_features"], tensors["out/vit_features"])
    check(features_BTHWD.flatten(0, 1)[:, 0], tensors["out/ln_vision"])
    for name, value in joined.intermediates(features_BTHWD).items():
        check(value, tensors[f"out/{name}"])
    check(joined(features_BTHWD), tensors["out/inputs_llama"])
    check(joined(encoder(pixels_BTCYX[:, :1])), tensors["out/inputs_llama_single_frame"])


@torch.no_grad()
def test_the_audio_connector_of_video_llama_is_met() -> None:
    sizes, weights, tensors = recorded("videollama_audio_branch")
    joined = connector(
        AudioQFormer, sizes, weights, in_dim=sizes["ib_out"], queries=sizes["naq"], depth=2, max_steps=8
    )  # fmt: skip
    features_BAD = tensors["out/imagebind_audio_embed"]
    for name, value in joined.intermediates(features_BAD).items():
        check(value, tensors[f"out/{name}"])
    check(joined(features_BAD), tensors["out/inputs_llama"])


@pytest.mark.parametrize("name", ["videochat1", "videochat1_full_uniformerv2_optional"])
@torch.no_grad()
def test_videochat_is_met(name: str) -> None:
    """As it was released, and with the local aggregators and halved frames that no release uses."""
    sizes, weights, tensors = recorded(name)
    local = "none" if sizes["no_lmhra"] else "double" if sizes["double_lmhra"] else "single"
    encoder = tower(
        EvaViTMHRA, sizes, weights, global_layers=sizes["gmhra_layers"], local=local,
        local_reduction=sizes["lmhra_reduction"], halve_frames=sizes["temporal_downsample"],
    )  # fmt: skip
    joined = connector(
        QFormerExtra, sizes, weights, in_dim=sizes["vit"], queries=sizes["nq"], extra_queries=sizes["xq"],
        depth=sizes["layers"], cross_attention_frequency=2,
    )  # fmt: skip
    pixels_BTCYX = tensors["in/video_btchw"]
    features_BTHWD = encoder(pixels_BTCYX)
    check(encoder.intermediates(pixels_BTCYX)["vit_gmhra_tokens"], tensors["out/vit_gmhra_tokens"])
    check(features_BTHWD[:, 0, 0], tensors["out/ln_vision"])
    check(joined.read(features_BTHWD), tensors["out/qformer"])
    check(joined(features_BTHWD), tensors["out/inputs_llama"])
    check(joined(encoder(pixels_BTCYX[:, :1])), tensors["out/inputs_llama_single_frame"])
    grid = encoder.grid(pixels_BTCYX.shape[1], *pixels_BTCYX.shape[-2:])
    assert (grid.frames, grid.height, grid.width) == features_BTHWD.shape[1:4] and grid.sequence


SMALL = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 28,
}  # fmt: skip


def vit(**changes: Any) -> EvaViT:
    torch.manual_seed(0)
    return EvaViT(**{**asdict(ViTParams()), **SMALL, **changes})


def mhra(**changes: Any) -> EvaViTMHRA:
    torch.manual_seed(0)
    return EvaViTMHRA(**{**asdict(MHRAParams()), **SMALL, "global_layers": 1, **changes})


def test_patches_are_a_plane_and_keys_have_no_bias() -> None:
    both, patches = vit().eval(), vit(select="patch").eval()
    pixels_BTCYX = torch.randn(2, 3, 3, 28, 28)
    with torch.no_grad():
        sequence, plane = both(pixels_BTCYX), patches(pixels_BTCYX)
    assert sequence.shape == (2, 3, 1, 5, 16) and torch.equal(sequence[:, :, 0, 1:].unflatten(2, (2, 2)), plane)
    assert not any("k_bias" in name or name.endswith("qkv.bias") for name, _ in both.named_parameters())


@pytest.mark.parametrize("build", [vit, mhra])
def test_recomputing_changes_no_gradient(build: Any) -> None:
    gradients = []
    for again in (False, True):
        part = build().eval()
        if again:
            part.enable_gradient_checkpointing()
        pixels_BTCYX = torch.randn(1, 3, 3, 28, 28, generator=torch.Generator().manual_seed(1))
        part(pixels_BTCYX).square().sum().backward()
        gradients.append({name: item.grad for name, item in part.named_parameters() if item.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    torch.testing.assert_close(*gradients)


def test_the_modules_of_all_frames_may_have_another_width() -> None:
    """The original rounds the one, and cuts off the other: 40 x 4.3637 is 175 there and 174 in the blocks."""
    part = mhra(global_intermediate=33)
    assert part.visual_encoder.gmhra[0].mlp["c_fc"].weight.shape[0] == 33
    assert part.visual_encoder.blocks[0].mlp.fc1.weight.shape[0] == 32
    with pytest.raises(ConfigError, match="global_intermediate 0"):
        mhra(global_intermediate=0)


@pytest.mark.parametrize("halve", [False, True])
@pytest.mark.parametrize("frames", [1, 2, 3, 5])
def test_grids_of_the_aggregating_tower_are_exact(frames: int, halve: bool) -> None:
    part = mhra(halve_frames=halve, local="double").eval()
    with torch.no_grad():
        features = part(torch.randn(1, frames, 3, 28, 28))
    grid = part.grid(frames, 28, 28)
    assert features.shape == (1, grid.frames, grid.height, grid.width, 16)


@pytest.mark.parametrize(
    ("build", "changes", "piece"),
    [
        (vit, {"num_attention_heads": 3}, "multiple"), (vit, {"select": "all"}, "cls_patch or patch"),
        (vit, {"resize": "zoom"}, "squash"), (mhra, {"select": "patch"}, "eva_vit_g"), (mhra, {"local": "x"}, "double"),
        (mhra, {"global_layers": 3}, "num_hidden_layers=2"),
    ],
)  # fmt: skip
def test_a_tower_that_cannot_be_is_refused(build: Any, changes: dict[str, Any], piece: str) -> None:
    with pytest.raises(ConfigError, match=piece):
        build(**changes)
