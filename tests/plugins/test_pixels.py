"""Front ends in place of an encoder's own: tiles as InternVL 1.5 chooses them, and native sizes."""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.compositions import clip, tiny_pipeline
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.nn.functional import interpolate
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import center_crop, resize
from vlframe_pixels.centre_crop import CentreCrop
from vlframe_pixels.native import Native
from vlframe_pixels.nearest import Nearest
from vlframe_pixels.tiles import Tiles, nearest_grid

from vlframe import ConfigError, NativePixels, PixelLayout, SquarePixels
from vlframe.testing.subject import Subject
from vlframe.testing.video import check_front_end
from vlframe.training.trainable import set_modes

PRIOR = Path(__file__).parents[1] / "recordings" / "prior"
GREY = (0.5, 0.5, 0.5)
SQUARE = SquarePixels(16, GREY, GREY, "bilinear", "crop")
ANY_SIZE = NativePixels(8, 512, 4096, GREY, GREY, "bilinear")
SIDES = st.integers(1, 200)


def tiles(own: Any = SQUARE, **changes: Any) -> Tiles:
    usual = {"max_tiles": 6, "min_tiles": 1, "overview": True, "overview_of_one": False, "video_tiles": 1}
    return Tiles(**({"own": own, "arithmetic": "bytes"} | usual | changes))


def noise(frames: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (frames, height, width, 3), np.uint8)


def chosen_by_force(width: int, height: int, size: int, fewest: int, most: int) -> tuple[int, int]:
    """The published rule told the other way round: all equally near grids first, then one of them."""
    grids = [(a, b) for a in range(1, 50) for b in range(1, 50) if fewest <= a * b <= most]
    distances = {grid: abs(width / height - grid[0] / grid[1]) for grid in grids}
    near = [grid for grid in grids if distances[grid] == min(distances.values())]
    counts = sorted({a * b for a, b in near})
    worth = [count for count in counts if 2 * width * height > count * size * size]
    count = max([counts[0], *worth])
    same = sorted(grid for grid in near if grid[0] * grid[1] == count)
    return same[-1] if count in worth else same[0]


@settings(max_examples=150, deadline=None)
@example(width=80, height=64, size=16, fewest=2, more=0)
@example(width=33, height=33, size=16, fewest=1, more=8)
@given(width=SIDES, height=SIDES, size=st.integers(1, 64), fewest=st.integers(1, 6), more=st.integers(0, 20))
def test_the_grid_is_the_nearest_in_aspect(width: int, height: int, size: int, fewest: int, more: int) -> None:
    found = nearest_grid(width, height, size, fewest, fewest + more)
    assert found == chosen_by_force(width, height, size, fewest, fewest + more)


@pytest.mark.parametrize(
    ("picture", "grid"),
    [  # width x height -> columns, rows of 448 px tiles, at most 12 (InternVL 1.5, section 3.3: 800 x 1300 is 2 x 3)
        ((800, 1300), (2, 3)),
        ((448, 448), (1, 1)),
        ((1600, 1200), (4, 3)),
        ((450, 450), (1, 1)),
        ((700, 700), (2, 2)),
        ((5000, 500), (10, 1)),
        ((10, 5000), (1, 12)),
    ],
)
def test_grids_known_from_the_paper_and_by_hand(picture: tuple[int, int], grid: tuple[int, int]) -> None:
    assert nearest_grid(*picture, 448, 1, 12) == grid


@settings(max_examples=40, deadline=None)
@given(
    height=SIDES,
    width=SIDES,
    frames=st.integers(1, 3),
    most=st.integers(1, 7),
    clip=st.integers(1, 4),
    overview=st.booleans(),
)
def test_what_is_prepared_is_what_the_layout_says(
    height: int, width: int, frames: int, most: int, clip: int, overview: bool
) -> None:
    pixels = tiles(max_tiles=most, video_tiles=clip, overview=overview)
    layout = pixels.layout(height, width, frames)
    made = pixels.prepare(noise(frames, height, width))
    assert made.dtype == torch.uint8
    assert tuple(made.shape) == (layout.tiles * frames, 3, 16, 16)
    cut = layout.rows * layout.columns
    assert 1 <= cut <= (most if frames == 1 else clip)
    assert layout == PixelLayout(16, 16, layout.rows, layout.columns, overview and cut > 1)
    assert layout.tiles == cut + (overview and cut > 1)


def test_tiles_stand_in_reading_order_and_the_overview_is_last() -> None:
    frame_YXC = noise(1, 40, 59)[0]
    made = tiles().prepare(frame_YXC[None]).permute(0, 2, 3, 1).numpy()
    assert tiles().layout(40, 59) == PixelLayout(16, 16, 2, 3, overview=True)
    whole = Image.fromarray(frame_YXC).resize((48, 32), Image.Resampling.BILINEAR)
    for index, tile in enumerate(made[:-1]):
        row, column = divmod(index, 3)
        box = (16 * column, 16 * row, 16 * column + 16, 16 * row + 16)
        assert np.array_equal(tile, np.asarray(whole.crop(box)))
    small = Image.fromarray(frame_YXC).resize((16, 16), Image.Resampling.BILINEAR)
    assert np.array_equal(made[-1], np.asarray(small))


def test_clips_are_tile_major() -> None:
    clip_TYXC = noise(3, 20, 40)
    pixels = tiles(video_tiles=2)
    together = pixels.prepare(clip_TYXC).unflatten(0, (3, 3))  # left, right, overview
    alone = tiles(max_tiles=2)
    for frame in range(3):
        assert torch.equal(together[:, frame], alone.prepare(clip_TYXC[frame : frame + 1]))


def test_clips_are_not_cut_unless_asked_but_never_cropped() -> None:
    clip_TYXC = noise(2, 20, 60)
    made = tiles(min_tiles=2).prepare(clip_TYXC)
    squash = SquarePixels(16, GREY, GREY, "bilinear", "squash")
    assert torch.equal(made, squash.prepare(clip_TYXC))


def test_a_tile_of_its_own_size_is_what_the_encoder_alone_would_see() -> None:
    frames_TYXC = noise(1, 16, 16)
    assert torch.equal(tiles().prepare(frames_TYXC), SQUARE.prepare(frames_TYXC))
    frames = torch.randint(0, 256, (2, 1, 3, 16, 16), dtype=torch.uint8)
    assert torch.equal(tiles().normalise(frames), SQUARE.normalise(frames))


# --- tiles in floating point (VideoChat2-HD) ---

FLOAT = {"video_tiles": 6, "overview_of_one": True, "arithmetic": "float"}


@pytest.mark.parametrize("row", json.loads((PRIOR / "frame_sampling.json").read_text())["tables"][
    "videochat2_hd_no_padding"
])  # fmt: skip
def test_grids_are_those_of_the_official_code(row: dict[str, Any]) -> None:
    pixels = tiles(SquarePixels(224, GREY, GREY), max_tiles=row["hd_num"], **(FLOAT | {"video_tiles": row["hd_num"]}))
    for frames in (1, 8):
        layout = pixels.layout(*row["hw"], frames)
        assert [224 * layout.rows, 224 * layout.columns] == row["out_hw"] and layout.overview


@pytest.mark.parametrize(("height", "width", "frames"), [(40, 59, 2), (64, 30, 1), (20, 20, 3)])
def test_float_tiles_are_cut_from_what_torch_enlarges(height: int, width: int, frames: int) -> None:
    pixels, clip = tiles(**FLOAT), noise(frames, height, width)
    layout = pixels.layout(height, width, frames)
    made = pixels.prepare(clip)
    assert made.dtype == torch.float32 and tuple(made.shape) == (layout.tiles * frames, 3, 16, 16)
    rows, columns = layout.rows, layout.columns
    frames_TCYX = torch.from_numpy(clip).permute(0, 3, 1, 2).float()
    whole = interpolate(frames_TCYX, size=(16 * rows, 16 * columns), mode="bicubic", align_corners=False)
    each = [whole[:, :, 16 * r : 16 * r + 16, 16 * c : 16 * c + 16] for r in range(rows) for c in range(columns)]
    overview = interpolate(whole, size=(16, 16), mode="bicubic", align_corners=False)
    assert torch.equal(made, torch.cat([*each, overview]))
    normal = (whole / 255 - 0.5) / 0.5
    torch.testing.assert_close(pixels.normalise(made), pixels.cut(normal, layout), atol=1e-5, rtol=0)


def test_float_tiles_need_no_rounding_where_nothing_is_enlarged() -> None:
    clip = noise(2, 16, 16)
    exact, rounded = tiles(**FLOAT).prepare(clip), tiles(overview_of_one=True).prepare(clip)
    assert torch.equal(exact, rounded.float()) and len(exact) == 4
    torch.testing.assert_close(tiles(**FLOAT).normalise(exact), tiles().normalise(rounded), atol=1e-6, rtol=0)
    with pytest.raises(ConfigError, match="bytes, float"):
        tiles(arithmetic="int")


@settings(max_examples=20, deadline=None)
@given(height=SIDES, width=SIDES)
def test_native_is_the_encoders_front_end_with_other_bounds(height: int, width: int) -> None:
    native = Native(own=ANY_SIZE, min_pixels=1024, max_pixels=2048)
    same = NativePixels(8, 1024, 2048, GREY, GREY, "bilinear")
    assert native.layout(height, width) == same.layout(height, width)
    frames_TYXC = noise(2, height, width)
    assert torch.equal(native.prepare(frames_TYXC), same.prepare(frames_TYXC))


@pytest.mark.parametrize("pixels", [tiles(), Native(own=ANY_SIZE, min_pixels=512, max_pixels=900)])
def test_they_travel_to_workers(pixels: Any) -> None:
    again = pickle.loads(pickle.dumps(pixels))
    assert again == pixels
    assert torch.equal(again.prepare(noise(1, 30, 50)), pixels.prepare(noise(1, 30, 50)))


@pytest.mark.parametrize(
    ("name", "own", "given"),
    [("tiles", SQUARE, {}), ("tiles", SQUARE, FLOAT), ("native", ANY_SIZE, {}), ("centre_crop", SQUARE, {})],
)
def test_rows_keep_the_promises_of_a_front_end(name: str, own: Any, given: dict[str, Any]) -> None:
    subject = Subject("pixels", name, given)
    check_front_end(subject, subject.build(own=own))


def test_each_refuses_encoders_of_the_other_sort() -> None:
    with pytest.raises(ConfigError, match=r"has a fixed size .*pixels=tiles"):
        Native(own=SQUARE, min_pixels=512, max_pixels=900)
    with pytest.raises(ConfigError, match=r"needs an encoder of a fixed square size.*pixels=native"):
        tiles(own=ANY_SIZE)


@pytest.mark.parametrize("changes", [{"min_tiles": 0}, {"min_tiles": 7}, {"video_tiles": 0}, {"max_tiles": 0}])
def test_impossible_numbers_are_explained(changes: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="are at least 1, and min_tiles is at most max_tiles"):
        tiles(**changes)


@given(height=SIDES, width=SIDES, frames=st.integers(1, 3))
@settings(deadline=None, max_examples=30)
def test_nearest_takes_pixels_of_the_picture(height: int, width: int, frames: int) -> None:
    clip = noise(frames, height, width)
    front = Nearest(SQUARE)
    rows, columns = (torch.arange(16) * edge // 16 for edge in (height, width))
    expected = torch.from_numpy(clip)[:, rows][:, :, columns].permute(0, 3, 1, 2)
    assert torch.equal(front.prepare(clip), expected)
    assert front.layout(height, width, frames) == PixelLayout(16, 16)


def test_nearest_needs_squares() -> None:
    with pytest.raises(ConfigError, match="fixed square size"):
        Nearest(ANY_SIZE)


# --- the middle of frames ---

OTHERS = {"training_mean": [0.25, 0.5, 0.75], "training_std": [0.5, 0.25, 0.125]}
STILL: dict[str, Any] = {"training_area": None, "mirror": 0.0}


@given(height=SIDES, width=SIDES)
@settings(deadline=None, max_examples=40)
def test_the_middle_is_where_torchvision_cuts_it(height: int, width: int) -> None:
    clip = noise(1, height, width)
    picture = center_crop(resize(Image.fromarray(clip[0]), [16], InterpolationMode.BILINEAR), [16, 16])
    found = CentreCrop(own=SQUARE, training_mean=None, training_std=None, **STILL).prepare(clip)
    assert np.array_equal(found[0].permute(1, 2, 0).numpy(), np.asarray(picture))


def test_a_branch_is_trained_in_its_own_colours(registry) -> None:
    words = [f"+pixels.{name}={value}" for name, value in OTHERS.items()]
    pipeline = tiny_pipeline(registry, "pixels=centre_crop", *words)
    branch, own = pipeline.model.branches["video"], tiny_pipeline(registry).model.branches["video"].pixels
    file = clip(pipeline, 1).file
    seen: list[torch.Tensor] = []
    branch.encoder.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    branch.encode([file])
    set_modes(pipeline.model)
    branch.encode([file])
    assert torch.equal(seen[0], own.normalise(file.tensor)[None])
    expected = (file.tensor / 255 - torch.tensor([[[0.25]], [[0.5]], [[0.75]]])) / torch.tensor(
        [[[0.5]], [[0.25]], [[0.125]]]
    )
    torch.testing.assert_close(seen[1], expected[None])


@pytest.mark.parametrize("changes", [{"training_mean": [0.5]}, {"training_std": [0.5, 0.0, 0.5]}, {"own": ANY_SIZE}])
def test_a_middle_that_cannot_be_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"three numbers|fixed square size"):
        CentreCrop(**({"own": SQUARE, **OTHERS, **STILL} | changes))
