"""Pictures of every size through whole compositions: tokens are counted exactly before anything runs, batches mix
sizes, and what a row teaches does not depend on its company."""

from functools import cache

import numpy as np
import pytest
import torch
from helpers.compositions import batch, row
from hypothesis import given, settings
from hypothesis import strategies as st

from vlframe import ConfigError
from vlframe.composer.compose import compose
from vlframe.contracts.batch import MediaFile
from vlframe.data.prepare import PreparedMedia
from vlframe.inference.pipeline import Pipeline, build_pipeline
from vlframe.registry.registry import Registry

# Nothing is averaged, so that every position of a grid becomes a token.
REST = [
    "connector=pool", "connector.frames=9", "connector.height=99", "connector.width=99", "llm=tiny",
    "llm.architecture.hidden_size=48", "llm.architecture.intermediate_size=64",
    "llm.architecture.num_attention_heads=4", "media.frames=4",
]  # fmt: skip
SQUARE = ["encoder.size=16", "encoder.dim=32", "encoder.heads=2"]
COMPOSITIONS = {
    "joint": ["encoder=vit_joint_tiny", *SQUARE],
    "videomae": ["encoder=videomae_tiny"],
    "naflex": ["encoder=siglip2_naflex_tiny"],
    "naflex in other bounds": [
        "encoder=siglip2_naflex_tiny", "pixels=native", "pixels.min_pixels=64", "pixels.max_pixels=640",
    ],
    "tiles": ["encoder=vit_tiny", *SQUARE, "pixels=tiles", "pixels.max_tiles=4"],
    "tiles of clips": ["encoder=vit_tiny", *SQUARE, "pixels=tiles", "pixels.video_tiles=2", "pixels.overview=false"],
    "tiles of a joint encoder": ["encoder=vit_joint_tiny", *SQUARE, "pixels=tiles", "pixels.video_tiles=3"],
}  # fmt: skip
MEDIA = st.tuples(st.sampled_from([1, 2, 4]), st.integers(4, 90), st.integers(4, 90))


@cache
def pipeline(name: str) -> Pipeline:
    registry = Registry.installed()
    built = build_pipeline(compose("train", [*COMPOSITIONS[name], *REST], registry), registry)
    built.model.eval()
    return built


def medium(made: Pipeline, frames: int, height: int, width: int) -> PreparedMedia:
    """An image, or a clip of more than one frame, as the front end prepares it; tokens as told from its size alone."""
    kind = "image" if frames == 1 else "video"
    front_end = made.budget.front_end(kind)
    layout = front_end.layout(height, width, frames)
    tokens = made.budget.tokens(kind, (frames * layout.tiles, 3, layout.height, layout.width), layout.tiles)
    noise = np.random.default_rng(frames + height * 100 + width)
    pictures = noise.integers(0, 256, (frames, height, width, 3), np.uint8)
    tensor = front_end.prepare(pictures)
    return PreparedMedia(MediaFile(kind, tensor, (frames, height, width), layout.tiles), tokens)


def lessons(made: Pipeline, rows: list) -> list[float]:
    """The loss that each row has alone."""
    with torch.no_grad():
        return [float(made.model(batch(one)).total) for one in rows]


@pytest.mark.parametrize("name", COMPOSITIONS)
@settings(max_examples=6, deadline=None)
@given(media=st.lists(MEDIA, min_size=1, max_size=4))
def test_batches_of_mixed_sizes_teach_what_their_rows_teach_alone(name: str, media: list) -> None:
    made = pipeline(name)
    rows = [row([medium(made, *size)], 6, 3, seed) for seed, size in enumerate(media)]
    rows.append(row([medium(made, *size) for size in media], 6, 3, 99))  # and all of them before one question
    with torch.no_grad():
        together = float(made.model(batch(*rows)).total)
    assert together == pytest.approx(sum(lessons(made, rows)), rel=1e-4)


@pytest.mark.parametrize("name", COMPOSITIONS)
def test_the_encoder_learns_from_images_and_clips(name: str) -> None:
    made = pipeline(name)
    made.model.zero_grad()
    rows = [row([medium(made, 1, 40, 70)], 6, 3, 0), row([medium(made, 4, 30, 20)], 6, 3, 1)]
    made.model(batch(*rows)).total.backward()
    encoder = made.model.branches["video"].encoder
    lost = [key for key, weight in encoder.named_parameters() if weight.grad is None or not weight.grad.any()]
    made.model.zero_grad()
    assert [key for key in lost if not key.endswith("key.bias")] == []  # a softmax takes no notice of those


def test_tiles_cost_what_they_show() -> None:
    made = pipeline("tiles")
    assert medium(made, 1, 16, 16).tokens == 4  # one tile of 2 x 2 patches
    assert medium(made, 1, 30, 60).tokens == 12  # two, and the overview
    assert medium(made, 4, 30, 60).tokens == 16  # a clip is not cut


def test_an_image_is_not_copied_for_an_encoder_whose_frames_see_each_other() -> None:
    made = pipeline("videomae")
    assert (medium(made, 1, 40, 40).tokens, medium(made, 2, 40, 40).tokens, medium(made, 4, 40, 40).tokens) == (
        16,
        16,
        32,
    )


def test_clips_that_do_not_fill_tubelets_are_refused_with_the_nearest_lengths() -> None:
    registry = Registry.installed()
    with pytest.raises(ConfigError, match=r"media\.frames=4 or 6"):
        build_pipeline(compose("train", ["encoder=videomae_tiny", *REST, "media.frames=5"], registry), registry)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["encoder=siglip2_naflex_tiny", "pixels=tiles"], "needs an encoder of a fixed square size"),
        (["encoder=vit_tiny", "pixels=native"], "needs an encoder that takes pictures of any size"),
    ],
)
def test_front_ends_that_do_not_fit_the_encoder_are_refused(overrides: list[str], message: str) -> None:
    registry = Registry.installed()
    with pytest.raises(ConfigError, match=message):
        build_pipeline(compose("train", [*overrides, *REST], registry), registry)
