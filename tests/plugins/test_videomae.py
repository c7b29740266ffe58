"""VideoMAE's encoder, element by element against transformers, and its path for images."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.encoders import check_blocks
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import VideoMAEConfig, VideoMAEForPreTraining, VideoMAEForVideoClassification, VideoMAEModel
from transformers.models.videomae.image_processing_pil_videomae import VideoMAEImageProcessorPil
from vlframe_videomae.encoder import MEAN, STD, VideoMae, sinusoids

from vlframe import ConfigError, VideoGrid, WeightsError
from vlframe.composer.compose import compose
from vlframe.contracts.meta import meta_build
from vlframe.registry.registry import Registry
from vlframe.testing import check_encoder

SMALL = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 8,
    "num_frames": 4,
    "tubelet_size": 2,
}
DECODER = {
    "decoder_hidden_size": 24,
    "decoder_num_attention_heads": 2,
    "decoder_num_hidden_layers": 1,
    "decoder_intermediate_size": 16,
}
WRAPPED = {"pretraining": VideoMAEForPreTraining, "classifier": VideoMAEForVideoClassification}


def build(**changes: Any) -> VideoMae:
    params = {"source": None, "architecture": SMALL, "layer": -1, "resize": "crop"}
    return VideoMae(**(params | changes)).eval()


def full(kind: type = VideoMAEForPreTraining, **changes: Any) -> torch.nn.Module:
    torch.manual_seed(0)
    model = kind(VideoMAEConfig(**(SMALL | DECODER | changes))).eval()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    return model


def save_as_published(model: torch.nn.Module, folder: Path) -> None:
    """The names of MCG-NJU's checkpoints: q_bias and v_bias, and no bias of keys."""
    model.save_pretrained(folder)
    weights = load_file(folder / "model.safetensors")
    kept = {key: value for key, value in weights.items() if not key.endswith(".key.bias")}
    names = {key: key.replace("query.bias", "q_bias").replace("value.bias", "v_bias") for key in kept}
    assert "videomae.encoder.layer.0.attention.attention.q_bias" in names.values()
    save_file({names[key]: kept[key] for key in kept}, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("layer", [-4, -2, -1, 1, 3])
@pytest.mark.parametrize("published", [False, True])
def test_a_loaded_encoder_is_the_hidden_state_of_the_full_model(layer: int, published: bool, tmp_path: Path) -> None:
    model = full()
    if published:
        for block in model.videomae.encoder.layer:
            block.attention.attention.key.bias.data.zero_()
        save_as_published(model, tmp_path)
    else:
        model.save_pretrained(tmp_path)
    pixels_BTCYX = torch.randn(2, 4, 3, 16, 16)
    with torch.no_grad():
        hidden = model.videomae(pixels_BTCYX, output_hidden_states=True).hidden_states
        features = build(source=str(tmp_path), layer=layer)(pixels_BTCYX)
    assert len(hidden) == 4
    torch.testing.assert_close(features, hidden[layer].reshape(2, 2, 2, 2, 32), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", WRAPPED)
def test_every_kind_of_checkpoint_loads_bit_for_bit(kind: str, tmp_path: Path) -> None:
    model = full(WRAPPED[kind], use_mean_pooling=kind == "classifier")
    save_as_published(model, tmp_path)
    encoder = build(source=str(tmp_path), architecture={})
    theirs = model.videomae.state_dict()
    for key, value in encoder.state_dict().items():
        expected = theirs[key.replace("projection.", "embeddings.patch_embeddings.projection.")]
        torch.testing.assert_close(value, torch.zeros_like(value) if key.endswith("key.bias") else expected)


def test_an_encoder_alone_loads_too(tmp_path: Path) -> None:
    model = full(VideoMAEModel, use_mean_pooling=False)
    model.save_pretrained(tmp_path)
    pixels_BTCYX = torch.randn(1, 4, 3, 16, 16)
    with torch.no_grad():
        expected = model(pixels_BTCYX, output_hidden_states=True).hidden_states[-1]
        found = build(source=str(tmp_path))(pixels_BTCYX)
    torch.testing.assert_close(found.flatten(1, 3), expected)


@pytest.mark.parametrize("frames", [2, 6, 10])
def test_other_lengths_are_those_of_a_model_made_for_them(frames: int, tmp_path: Path) -> None:
    """transformers makes its table for one length; the weights know nothing of it."""
    full().save_pretrained(tmp_path)
    other = full(VideoMAEModel, num_frames=frames)
    other.load_state_dict(full().videomae.state_dict(), strict=False)
    pixels_BTCYX = torch.randn(1, frames, 3, 16, 16)
    with torch.no_grad():
        expected = other(pixels_BTCYX).last_hidden_state
        found = build(source=str(tmp_path))(pixels_BTCYX)
    assert build().grid(frames, 16, 16) == VideoGrid(frames // 2, 2, 2)
    torch.testing.assert_close(found.flatten(1, 3), expected, atol=1e-6, rtol=1e-5)


def test_an_image_is_one_tubelet_of_two_equal_frames_and_no_clip_of_copies() -> None:
    encoder = build()
    for weight in encoder.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    image_B1CYX = torch.randn(2, 1, 3, 16, 16)
    with torch.no_grad():
        found = encoder(image_B1CYX)
        pair = encoder(image_B1CYX.expand(-1, 2, -1, -1, -1))
        clip = encoder(image_B1CYX.expand(-1, 4, -1, -1, -1))
    assert encoder.grid(1, 16, 16) == VideoGrid(1, 2, 2)
    assert found.shape == (2, 1, 2, 2, 32)
    torch.testing.assert_close(found, pair, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(clip[:, :1], found, atol=1e-2)


def test_frames_see_each_other() -> None:
    encoder = build()
    for weight in encoder.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    clip_BTCYX = torch.randn(1, 4, 3, 16, 16)
    changed = clip_BTCYX.clone()
    changed[:, 3] += 1
    with torch.no_grad():
        assert not torch.allclose(encoder(clip_BTCYX)[:, 0], encoder(changed)[:, 0], atol=1e-3)
    assert encoder.per_frame is False


@settings(max_examples=30, deadline=None)
@given(frames=st.integers(1, 40), tubelet=st.integers(1, 4))
def test_the_grid_holds_whole_tubelets_or_one_image(frames: int, tubelet: int) -> None:
    encoder = build(architecture=SMALL | {"tubelet_size": tubelet, "num_hidden_layers": 0})
    if frames == 1 or frames % tubelet == 0:
        grid = encoder.grid(frames, 16, 16)
        assert grid.frames == max(1, frames // tubelet)
        assert encoder(torch.randn(1, frames, 3, 16, 16)).shape[1:4] == (grid.frames, grid.height, grid.width)
    else:
        with pytest.raises(ConfigError, match=f"tubelets of {tubelet} frames, and this one has {frames};"):
            encoder.grid(frames, 16, 16)


def test_positions_are_transformers_table() -> None:
    theirs = full(VideoMAEModel).embeddings.position_embeddings[0]
    torch.testing.assert_close(sinusoids(8, 32, torch.device("cpu")), theirs, rtol=0, atol=0)


def test_pixels_are_those_of_the_published_processor() -> None:
    """preprocessor_config.json of MCG-NJU/videomae-base: bilinear, shortest edge, centre, ImageNet's colours."""
    processor = VideoMAEImageProcessorPil(
        size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}, image_mean=list(MEAN), image_std=list(STD)
    )
    frames_TYXC = np.random.default_rng(0).integers(0, 256, (2, 24, 40, 3), np.uint8)
    theirs = processor([list(frames_TYXC)], return_tensors="pt").pixel_values[0]
    pixels = build().pixels
    torch.testing.assert_close(pixels.normalise(pixels.prepare(frames_TYXC)), theirs, atol=1e-6, rtol=1e-6)


def test_a_missing_weight_is_an_error(tmp_path: Path) -> None:
    save_as_published(full(), tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["videomae.encoder.layer.1.attention.attention.q_bias"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=r"lacks 1 weights of VideoMAEModel: encoder\.layer\.1\..*query\.bias"):
        build(source=str(tmp_path))
    build(source=str(tmp_path), layer=1)  # that block is not built


def test_a_misshapen_weight_is_an_error(tmp_path: Path) -> None:
    save_as_published(full(), tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights["videomae.embeddings.patch_embeddings.projection.bias"] = torch.zeros(7)
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match="cannot be read"):
        build(source=str(tmp_path))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layer": 4}, "3 blocks have hidden states -4 to 3"),
        ({"resize": "stretch"}, "crop, squash, pad"),
        ({"architecture": SMALL | {"image_size": [16, 32]}}, "only square pictures"),
        ({"architecture": SMALL | {"frames": 4}}, "frames, which VideoMAEConfig does not know"),
    ],
)
def test_impossible_parameters_are_explained(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(**changes)


def test_a_source_that_disagrees_is_named_field_by_field(tmp_path: Path) -> None:
    full().save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="num_frames is 8, there 4; tubelet_size is 1, there 2"):
        build(source=str(tmp_path), architecture=SMALL | {"num_frames": 8, "tubelet_size": 1})


def test_it_keeps_the_promises_of_an_encoder() -> None:
    check_encoder("videomae", {"architecture": SMALL | {"num_hidden_layers": 1}}, frames=(1, 2, 4, 8))
    check_blocks(build(layer=-2))


@pytest.mark.parametrize(
    ("name", "frames", "dim", "grid", "blocks"),
    [("videomae_b_16f", 16, 768, "8x14x14", 12), ("videomae_tiny", 8, 64, "4x4x4", 2)],
)
def test_presets_are_planned(name: str, frames: int, dim: int, grid: str, blocks: int) -> None:
    registry = Registry.installed()
    with meta_build():
        encoder = registry.build("encoder", compose("train", [f"encoder={name}"], registry).encoder)
    size = encoder.pixels.size
    assert (encoder.dim, str(encoder.grid(frames, size, size)), len(encoder.blocks())) == (dim, grid, blocks)
    assert all(parameter.is_meta for parameter in encoder.parameters())
