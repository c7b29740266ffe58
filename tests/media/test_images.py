import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vlframe import MediaError
from vlframe.media.images import load_image, picture_count

IMAGES = Path(__file__).parent.parent / "recordings/preproc/images"


@pytest.mark.parametrize("name", ["gray", "palette", "rgba", "square", "tall", "wide"])
def test_every_mode_becomes_rgb(name):
    image = Image.open(IMAGES / f"{name}.png")
    frames_TYXC = load_image(IMAGES / f"{name}.png")
    assert frames_TYXC.shape == (1, image.height, image.width, 3)
    np.testing.assert_array_equal(frames_TYXC[0], np.asarray(image.convert("RGB")))


def test_sixteen_bits_of_grey_are_scaled_and_not_clipped(tmp_path):
    grey_YX = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    Image.fromarray(grey_YX).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(load_image(tmp_path / "deep.png")[0, :, :, 1], grey_YX >> 8)


def test_the_orientation_of_a_camera_is_undone(tmp_path):
    picture_YXC = np.zeros((4, 8, 3), np.uint8)
    picture_YXC[:, :4] = 200
    exif = Image.Exif()
    exif[0x0112] = 6  # turned a quarter clockwise to be upright
    Image.fromarray(picture_YXC).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(load_image(tmp_path / "turned.png")[0], np.rot90(picture_YXC, -1))


def test_a_decompression_bomb_is_refused(tmp_path):
    """A PNG header of 12000 x 12000 pixels: more than PIL warns about."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 12000, 12000, 8, 2, 0, 0, 0))
    path = tmp_path / "bomb.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b""))
    with pytest.raises(MediaError, match="too large"):
        load_image(path)
    assert picture_count(path) == 1


@pytest.mark.filterwarnings("ignore::UserWarning")  # PIL's, about damaged EXIF
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damaged_images_give_pixels_or_a_media_error(data, tmp_path_factory):
    form = data.draw(st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF"]))
    buffer = io.BytesIO()
    Image.open(IMAGES / "square.png").convert("RGB").resize((32, 24)).save(buffer, form)
    content = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(0, 10))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / "image"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        assert load_image(path).dtype == np.uint8
    except MediaError as error:
        assert str(path) in str(error)
    picture_count(path)


def test_a_truncated_image_is_an_error(tmp_path):
    content = (IMAGES / "wide.png").read_bytes()
    (tmp_path / "half.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(MediaError, match=r"half\.png: cannot be read as an image"):
        load_image(tmp_path / "half.png")
    (tmp_path / "empty.png").write_bytes(b"")
    with pytest.raises(MediaError, match=r"empty\.png: PIL knows no image format like this"):
        load_image(tmp_path / "empty.png")
