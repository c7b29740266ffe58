"""UMT's encoder against the official code: recorded features and position tables; clips of any length."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.encoders import check_blocks
from safetensors.torch import load_file
from vlframe_umt.encoder import Umt
from vlframe_umt.pixels import front_end
from vlframe_umt.positions import positions
from vlframe_videochat2.names import names

from vlframe import ConfigError, NameTable, VideoGrid
from vlframe.contracts.meta import meta_build
from vlframe.registry.registry import Registry

PRIOR = Path(__file__).parents[1] / "recordings" / "prior"
CPU = torch.device("cpu")


def recorded(name: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    return load_file(PRIOR / f"{name}.safetensors"), json.loads((PRIOR / f"{name}.json").read_text())["config"]


def build(**changes: Any) -> Umt:
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    more = {"image_size": 28, "patch_size": 14, "colours": "clip", "resize": "crop", "frame_embeddings": 0}
    torch.manual_seed(0)
    return Umt(**(sizes | more | changes)).eval()


def test_features_are_those_of_the_official_code() -> None:
    recording, said = recorded("videochat2")
    encoder = build(
        hidden_size=said["vit"], intermediate_size=4 * said["vit"], num_attention_heads=said["vit_heads"],
        num_hidden_layers=said["depth"] + said["return_index"] + 1, image_size=said["img"], patch_size=said["patch"],
    )  # fmt: skip
    weights = {key[2:]: value for key, value in recording.items() if key.startswith("w/vision")}
    joined = NameTable(names("llama")).join(weights)["encoder"]
    encoder.load_state_dict({name: item.tensor for name, item in joined.items()})
    frames_BTCYX = recording["in/frames_u8_low"].repeat_interleave(8, 3).repeat_interleave(8, 4)
    pixels_BTCYX = encoder.pixels.normalise(frames_BTCYX)
    with torch.no_grad():
        inside, features = encoder.intermediates(pixels_BTCYX)["umt_bTLC"], encoder(pixels_BTCYX)
    torch.testing.assert_close(inside, recording["out/umt_bTLC"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(features.flatten(1, 3), recording["out/vision_layernorm"], atol=1e-5, rtol=0)


def test_position_tables_are_equal_to_the_official_ones() -> None:
    recording, said = recorded("videochat2")
    side = said["img"] // said["patch"]
    for frames, key in ((said["num_frames"], "pos_embed"), (1, "img_pos_embed")):
        assert torch.equal(positions(frames, side, said["img"], said["vit"], CPU), recording[f"aux/{key}"][0])
    assert torch.equal(positions(8, 14, 224, 24, CPU)[::7], recording["aux/pos_embed_196x8_d24_from4"][0])


def test_pictures_of_another_size_have_the_pretrained_places() -> None:
    """Where a side has the patches of pretraining, nothing is interpolated over space."""
    same = positions(4, 14, 448, 8, CPU)
    assert torch.equal(same, positions(4, 14, 224, 8, CPU))
    assert torch.equal(positions(1, 14, 448, 8, CPU), same[: 14 * 14])
    finer = positions(4, 28, 448, 8, CPU).view(4, 28, 28, 8)
    assert not torch.equal(finer.flatten(0, 2), positions(4, 28, 224, 8, CPU))
    coarse = finer.unflatten(1, (14, 2)).unflatten(3, (14, 2)).mean((2, 4)).flatten(0, 2)
    assert (coarse - same).abs().mean() < 0.03  # of sines, whose values go from -1 to 1


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 16, 32])
def test_clips_of_every_length(frames: int) -> None:
    encoder = build()
    assert encoder.grid(frames, 28, 28) == VideoGrid(frames, 2, 2)
    pixels_BTCYX = torch.randn(2, frames, 3, 28, 28)
    with torch.no_grad():
        features = encoder(pixels_BTCYX)
        assert features.shape == (2, frames, 2, 2, 16)
        torch.testing.assert_close(features[1:], encoder(pixels_BTCYX[1:]), atol=1e-5, rtol=1e-5)
        if frames > 1:
            assert not torch.allclose(features, encoder(pixels_BTCYX.flip(1)).flip(1), atol=1e-3)


def test_keys_have_no_bias_and_blocks_are_those_that_run() -> None:
    encoder = build()
    assert not [name for name in encoder.state_dict() if name.endswith("key.bias")]
    check_blocks(encoder)


def test_recomputing_changes_no_gradient() -> None:
    pixels_BTCYX = torch.randn(1, 3, 3, 28, 28)
    gradients = []
    for recompute in (False, True):
        encoder = build().train()
        if recompute:
            encoder.enable_gradient_checkpointing()
        encoder(pixels_BTCYX).square().sum().backward()
        gradients.append({name: item.grad for name, item in encoder.named_parameters()})
    assert all(torch.equal(gradients[0][name], value) for name, value in gradients[1].items())


def test_a_plan_gives_the_tables_no_meta_tensors() -> None:
    with meta_build():
        planned = build(hidden_size=12)
        assert planned(torch.empty(1, 5, 3, 28, 28)).is_meta
    assert positions(5, 2, 28, 12, CPU).device == CPU


def test_colours_are_named() -> None:
    assert front_end(28, "imagenet", "crop").mean == (0.485, 0.456, 0.406)
    for changes, piece in (
        ({"colours": "grey"}, "clip, imagenet"),
        ({"resize": "fit"}, "crop, squash, pad"),
        ({"num_attention_heads": 3}, "multiple of num_attention_heads=3"),
        ({"image_size": 8}, "at least patch_size=14"),
    ):
        with pytest.raises(ConfigError, match=piece):
            build(**changes)


def test_the_preset_is_the_released_size(registry: Registry) -> None:
    with meta_build():
        encoder = registry.build("encoder", {"name": "umt_l"})
    assert encoder.grid(16, 224, 224).positions == 16 * 196 and encoder.dim == 1024 and len(encoder.blocks()) == 23
