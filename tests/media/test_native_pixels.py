"""Pictures at native size: the layout is what is made, sides are whole patches, areas are within bounds."""

import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from vlframe import ConfigError, NativePixels, PixelLayout

GREY = (0.5, 0.5, 0.5)
SIDES = st.integers(1, 300)


def front_end(patch: int = 8, low: int = 512, high: int = 4096, resampling: str = "bicubic") -> NativePixels:
    return NativePixels(patch, low, high, GREY, (0.25, 0.5, 1.0), resampling)  # type: ignore[arg-type]


def distance(rows: int, columns: int, height: float, width: float) -> float:
    return math.hypot(math.log(rows / height), math.log(columns / width))


@settings(max_examples=60, deadline=None)
@given(height=SIDES, width=SIDES, patch=st.integers(1, 16), low=st.integers(0, 4000), more=st.integers(0, 4000))
def test_no_other_grid_within_the_bounds_is_nearer(height: int, width: int, patch: int, low: int, more: int) -> None:
    high = low + more
    assume(max(1, math.ceil(low / patch**2)) <= high // patch**2)
    layout = front_end(patch, low, high).layout(height, width)
    assert layout == PixelLayout(layout.height, layout.width)
    assert layout.height % patch == layout.width % patch == 0
    assert low <= layout.height * layout.width <= high
    area = min(max(height * width, math.ceil(max(low, 1) / patch**2) * patch**2), high // patch**2 * patch**2)
    wanted = [side * math.sqrt(area / (height * width)) / patch for side in (height, width)]
    grids = [
        (rows, columns)
        for rows in range(1, high // patch**2 + 1)
        for columns in range(1, high // patch**2 // rows + 1)
        if low <= rows * columns * patch**2
    ]
    nearest = min(distance(*grid, *wanted) for grid in grids)
    assert distance(layout.height // patch, layout.width // patch, *wanted) == pytest.approx(nearest, abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(height=SIDES, width=SIDES, frames=st.integers(1, 3))
def test_what_is_prepared_has_the_size_of_the_layout(height: int, width: int, frames: int) -> None:
    pixels = front_end()
    layout = pixels.layout(height, width, frames)
    made = pixels.prepare(np.zeros((frames, height, width, 3), np.uint8))
    assert (made.dtype, tuple(made.shape)) == (torch.uint8, (frames * layout.tiles, 3, layout.height, layout.width))


def test_a_picture_of_whole_patches_within_the_bounds_is_left_alone() -> None:
    frames_TYXC = np.random.default_rng(0).integers(0, 256, (2, 48, 32, 3), np.uint8)
    made = front_end().prepare(frames_TYXC)
    assert np.array_equal(made.permute(0, 2, 3, 1).numpy(), frames_TYXC)


@pytest.mark.parametrize("resampling", ["bicubic", "bilinear"])
def test_the_whole_picture_is_resized(resampling: str) -> None:
    frame_YXC = np.random.default_rng(0).integers(0, 256, (60, 200, 3), np.uint8)
    made = front_end(resampling=resampling).prepare(frame_YXC[None])[0]
    size = (made.shape[2], made.shape[1])
    assert size == (120, 32)  # 117 x 35 would be as large as is allowed
    expected = Image.fromarray(frame_YXC).resize(size, Image.Resampling[resampling.upper()])
    assert np.array_equal(made.permute(1, 2, 0).numpy(), np.asarray(expected))


def test_small_pictures_grow_and_large_ones_shrink_to_the_bounds() -> None:
    pixels = front_end(8, 512, 4096)
    assert pixels.layout(2, 2) == PixelLayout(24, 24)
    assert pixels.layout(4, 16) == PixelLayout(16, 48)
    assert pixels.layout(4000, 4000) == PixelLayout(64, 64)
    assert pixels.layout(1, 100_000) == PixelLayout(8, 512)
    assert pixels.layout(100_000, 1) == PixelLayout(512, 8)


def test_normalised_pixels_are_colour_by_colour() -> None:
    frames_NTCYX = torch.full((2, 1, 3, 8, 8), 255, dtype=torch.uint8)
    found = front_end().normalise(frames_NTCYX)
    assert found.dtype == torch.float32
    assert found[0, 0, :, 0, 0].tolist() == pytest.approx([2.0, 1.0, 0.5])


def test_it_travels_to_workers() -> None:
    pixels = front_end()
    assert pickle.loads(pickle.dumps(pixels)) == pixels


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"low": 4096, "high": 512}, "min_pixels=4096 to max_pixels=512"),
        ({"high": 63, "low": 0}, "one patch has 64 pixels"),
        ({"low": 65, "high": 127}, "no picture of whole 8 x 8 patches"),
        ({"patch": 0}, "patch=0"),
        ({"resampling": "nearest"}, "'nearest' one of bicubic, bilinear"),
    ],
)
def test_impossible_bounds_are_explained(changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        front_end(**changes)
