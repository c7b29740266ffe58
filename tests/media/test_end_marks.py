"""Pictures without their end mark are read with equal pixels; with pixels missing they are refused."""

from pathlib import Path

import numpy as np
import pytest
from helpers.clips import picture
from PIL import Image

from vlframe.errors import MediaError
from vlframe.media.end_marks import with_end_mark
from vlframe.media.images import load_image, picture_size

JPEG_2000 = {"a.jp2": {}, "a.j2k": {}, "tiles.jp2": {"tile_size": (32, 32)}, "lossy.jp2": {"quality_layers": [20]}}


def saved(path: Path, **options: object) -> bytes:
    Image.fromarray(picture(3, 60, 80)).save(path, **options)
    return path.read_bytes()


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mark", [b"", b"\xff"])
def test_a_jpeg_without_its_end_mark(tmp_path: Path, progressive: bool, mark: bytes) -> None:
    path = tmp_path / "a.jpg"
    content = saved(path, progressive=progressive)
    good = load_image(path)
    path.write_bytes(content[:-2] + mark)
    np.testing.assert_array_equal(load_image(path), good)
    assert picture_size(path) == (60, 80)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_lacks_a_byte_of_its_pixels_is_refused(tmp_path: Path, progressive: bool) -> None:
    path = tmp_path / "a.jpg"
    content = saved(path, progressive=progressive)
    for cut in (3, 4, 50, len(content) // 2):
        path.write_bytes(content[:-cut])
        with pytest.raises(MediaError, match="image file is truncated"):
            load_image(path)


@pytest.mark.parametrize("name", JPEG_2000)
def test_a_jpeg_2000_without_its_end_mark(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    content = saved(path, **JPEG_2000[name])
    assert content[-2:] == b"\xff\xd9"
    good = load_image(path)
    for left in (content[:-2], content[:-1]):
        path.write_bytes(left)
        np.testing.assert_array_equal(load_image(path), good)
    for cut in range(3, len(content) - 12, 97):
        path.write_bytes(content[:-cut])
        assert with_end_mark(path) == path
        with pytest.raises(MediaError):
            load_image(path)


def test_a_jpeg_2000_that_lacks_a_whole_tile_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jp2"
    content = saved(path, tile_size=(32, 32))
    path.write_bytes(content[: content.rindex(b"\xff\x90\0\x0a")])
    with pytest.raises(MediaError):
        load_image(path)


@pytest.mark.parametrize("name", ["a.jpg", "a.jp2", "a.png"])
def test_a_picture_with_its_end_mark_is_opened_as_it_is(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    content = saved(path)
    assert with_end_mark(path) == path
    if name == "a.jpg":  # a camera's film or filling
        path.write_bytes(content + bytes(100))
        assert with_end_mark(path) == path


@pytest.mark.parametrize("name", ["a.png", "a.gif", "a.tga", "a.qoi"])
def test_others_are_read_without_theirs_too(tmp_path: Path, name: str) -> None:
    path, marks = tmp_path / name, {"png": 12, "gif": 1, "tga": 26, "qoi": 8}
    content = saved(path)
    good = load_image(path)
    path.write_bytes(content[: -marks[name[2:]]])
    np.testing.assert_array_equal(load_image(path), good)
