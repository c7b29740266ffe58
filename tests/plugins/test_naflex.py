"""SigLIP 2 NaFlex, element by element against transformers' own model and image processor."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.encoders import check_blocks
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import Siglip2Config, Siglip2Model, Siglip2VisionConfig, Siglip2VisionModel
from transformers.models.siglip2.image_processing_pil_siglip2 import Siglip2ImageProcessorPil
from vlframe_clip.naflex import Siglip2NaFlex

from vlframe import ConfigError, NativePixels, VideoGrid, WeightsError
from vlframe.composer.compose import compose
from vlframe.contracts.meta import meta_build
from vlframe.registry.registry import Registry
from vlframe.testing import check_encoder

SMALL = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_patches": 16,
    "patch_size": 4,
}
PADDED = 24  # patches, as transformers' processor pads to


def build(**changes: Any) -> Siglip2NaFlex:
    bounds = {"min_pixels": 128, "max_pixels": PADDED * 16}
    return Siglip2NaFlex(**({"source": None, "architecture": SMALL, "layer": -2} | bounds | changes)).eval()


def full() -> Siglip2VisionModel:
    torch.manual_seed(0)
    model = Siglip2VisionModel(Siglip2VisionConfig(**SMALL)).eval()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    return model


def processor() -> Siglip2ImageProcessorPil:
    return Siglip2ImageProcessorPil(patch_size=SMALL["patch_size"], max_num_patches=PADDED)


def hidden_states(model: Siglip2VisionModel, inputs: Any) -> tuple[torch.Tensor, ...]:
    with torch.no_grad():
        return model(**inputs, output_hidden_states=True).hidden_states


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * 1000 + width).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("naflex")
    full().save_pretrained(folder)
    return folder


@pytest.mark.parametrize("layer", [-4, -2, -1, 1])
def test_pictures_of_other_sizes_are_what_transformers_gives_for_the_same_patches(layer: int, folder: Path) -> None:
    """All in one padded and masked batch there; here group by group of one size, without padding."""
    pictures = [noise(*size) for size in ((16, 24), (24, 16), (8, 48), (4, 96), (20, 16), (90, 61), (400, 300))]
    inputs = processor()(pictures, return_tensors="pt")
    assert len({tuple(shape) for shape in inputs.spatial_shapes.tolist()}) >= 5
    assert not inputs.pixel_attention_mask.bool().all()
    expected = hidden_states(full(), inputs)[layer]
    encoder = build(source=str(folder), layer=layer)
    for index, (rows, columns) in enumerate(inputs.spatial_shapes.tolist()):
        patches = inputs.pixel_values[index, : rows * columns].reshape(rows, columns, 4, 4, 3)
        pixels_CYX = patches.permute(4, 0, 2, 1, 3).reshape(3, rows * 4, columns * 4)
        with torch.no_grad():
            found = encoder(pixels_CYX[None, None])
        assert encoder.grid(1, *pixels_CYX.shape[1:]) == VideoGrid(1, rows, columns)
        reference = expected[index, : rows * columns].reshape(1, 1, rows, columns, 32)
        torch.testing.assert_close(found, reference, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size", [(16, 24), (24, 16), (32, 48), (160, 240), (40, 60)])
def test_pictures_that_fill_the_bound_are_the_same_from_the_file_on(size: tuple[int, int], folder: Path) -> None:
    picture = noise(*size)
    expected = hidden_states(full(), processor()([picture], return_tensors="pt"))[-2]
    encoder = build(source=str(folder))
    pixels = encoder.pixels.normalise(encoder.pixels.prepare(picture[None]))
    with torch.no_grad():
        found = encoder(pixels[None])
    torch.testing.assert_close(found.flatten(1, 3), expected, atol=1e-5, rtol=1e-5)


def test_frames_and_clips_of_a_batch_are_encoded_alone(folder: Path) -> None:
    encoder = build(source=str(folder))
    clips = torch.randn(2, 3, 3, 12, 20)
    with torch.no_grad():
        together = encoder(clips)
        for clip in range(2):
            for frame in range(3):
                alone = encoder(clips[clip : clip + 1, frame : frame + 1])
                torch.testing.assert_close(together[clip, frame], alone[0, 0], atol=1e-5, rtol=1e-5)
    assert encoder.per_frame is True


@settings(max_examples=30, deadline=None)
@given(height=st.integers(1, 300), width=st.integers(1, 300), frames=st.integers(1, 3))
def test_any_picture_becomes_the_grid_that_was_told_before(height: int, width: int, frames: int) -> None:
    encoder = build(layer=0)
    layout = encoder.pixels.layout(height, width, frames)
    grid = encoder.grid(frames, layout.height, layout.width)
    pixels = encoder.pixels.normalise(encoder.pixels.prepare(np.zeros((frames, height, width, 3), np.uint8)))
    assert encoder(pixels[None]).shape == (1, frames, grid.height, grid.width, encoder.dim)
    assert 8 <= grid.height * grid.width <= PADDED


def test_a_checkpoint_with_a_text_tower_loads(tmp_path: Path) -> None:
    text = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = Siglip2Model(Siglip2Config(text_config=text | {"vocab_size": 20}, vision_config=SMALL))
    model.save_pretrained(tmp_path)
    assert any(key.startswith("vision_model.") for key in load_file(tmp_path / "model.safetensors"))
    encoder = build(source=str(tmp_path), architecture={})
    theirs = model.vision_model.state_dict()
    assert encoder.state_dict().keys() < theirs.keys()
    for key, value in encoder.state_dict().items():
        torch.testing.assert_close(value, theirs[key], rtol=0, atol=0)


def test_a_missing_weight_is_an_error(folder: Path, tmp_path: Path) -> None:
    full().save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["encoder.layers.1.mlp.fc1.bias"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=r"lacks 1 weights of Siglip2VisionModel: encoder\.layers\.1\.mlp\.fc1"):
        build(source=str(tmp_path))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layer": 4}, "3 blocks have hidden states -4 to 3"),
        ({"max_pixels": 15}, "one patch has 16 pixels"),
        ({"architecture": {}}, "spell out the Siglip2VisionConfig fields .*num_patches"),
    ],
)
def test_impossible_parameters_are_explained(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(**changes)


def test_sides_that_are_no_whole_patches_are_refused() -> None:
    with pytest.raises(ConfigError, match="18 x 16 pixels is not made of whole patches of 4"):
        build().grid(1, 18, 16)


def test_it_keeps_the_promises_of_an_encoder() -> None:
    check_encoder("siglip2_naflex", {"architecture": SMALL, "min_pixels": 128, "max_pixels": 384})
    check_blocks(build())


@pytest.mark.parametrize(
    ("name", "dim", "grid", "blocks"),
    [("siglip2_naflex_so400m", 1152, "8x12x21", 26), ("siglip2_naflex_tiny", 64, "8x4x6", 2)],
)
def test_presets_are_planned(name: str, dim: int, grid: str, blocks: int) -> None:
    registry = Registry.installed()
    with meta_build():
        encoder = registry.build("encoder", compose("train", [f"encoder={name}"], registry).encoder)
    layout = encoder.pixels.layout(1080, 1920, 8)
    found = encoder.grid(8, layout.height, layout.width)
    assert (encoder.dim, str(found), len(encoder.blocks())) == (dim, grid, blocks)
    assert all(parameter.is_meta for parameter in encoder.parameters())
    assert isinstance(encoder.pixels, NativePixels)
