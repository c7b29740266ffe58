import io
import struct
import zlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vlframe import MediaError
from vlframe.media.images import load_image, opened_picture, picture_count, upright_size

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


# The eight orientations of EXIF: what viewers make of the stored picture.
ORIENTATIONS = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: np.rot90(p, -1),
    7: lambda p: np.rot90(p, 2).swapaxes(0, 1),
    8: lambda p: np.rot90(p),
}


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_the_orientation_of_a_camera_is_undone(tmp_path, form, orientation):
    picture_YXC = noise(4, 8, 3)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95}}.get(form, {})
    path = tmp_path / "photo"
    Image.fromarray(picture_YXC).save(path, form, exif=exif, **options)
    if form == "JPEG":
        picture_YXC = np.asarray(Image.open(path))
    upright_YXC = ORIENTATIONS[orientation](picture_YXC)
    np.testing.assert_array_equal(load_image(path)[0], upright_YXC)
    with opened_picture(path) as image:
        assert upright_size(image) == upright_YXC.shape[:2]


@pytest.mark.parametrize("value", [0, 9, 60000])
def test_an_orientation_that_there_is_not_is_passed_over(tmp_path, value):
    exif = Image.Exif()
    exif[0x0112] = value
    Image.fromarray(noise(4, 8, 3)).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(load_image(tmp_path / "a.png")[0], noise(4, 8, 3))


@pytest.mark.filterwarnings("ignore::UserWarning")  # PIL's, about damaged EXIF
@settings(max_examples=60, deadline=None)
@given(junk=st.binary(min_size=0, max_size=80))
def test_exif_that_cannot_be_read_costs_no_picture(junk, tmp_path_factory):
    path = tmp_path_factory.mktemp("exif") / "a.png"
    head = b"II*\0\x08\0\0\0"
    Image.fromarray(noise(4, 4, 3)).save(path, exif=b"Exif\0\0" + head + junk)
    assert load_image(path).shape == (1, 4, 4, 3)
    assert picture_count(path) == 1


def test_the_colours_of_printers(tmp_path):
    """CMYK of a JPEG, which Adobe's programs store inverted."""
    red = Image.new("RGB", (16, 16), (200, 30, 40))
    red.convert("CMYK").save(tmp_path / "print.jpg", quality=95)
    np.testing.assert_allclose(load_image(tmp_path / "print.jpg")[0, 8, 8], (200, 30, 40), atol=6)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P", "1", "L", "CMYK", "YCbCr", "HSV", "LAB"])
def test_every_mode_is_read_as_pillow_converts_it(tmp_path, mode):
    image = Image.fromarray(noise(6, 6, 3)).convert("P" if mode == "PA" else "RGB")
    image = image.convert(mode if mode not in ("HSV", "LAB") else "RGB")
    form = "TIFF" if mode in ("CMYK", "YCbCr") else "PNG"
    if mode == "PA":
        image = image.convert("RGBA").quantize(16)
    image.save(tmp_path / "a", form)
    wanted = np.asarray(Image.open(tmp_path / "a").convert("RGB"))
    np.testing.assert_array_equal(load_image(tmp_path / "a")[0], wanted)


def test_sixteen_bits_of_colour(tmp_path):
    import av

    deep_YXC = np.linspace(0, 65535, 8 * 8 * 3).astype(np.uint16).reshape(8, 8, 3)
    encoder = av.CodecContext.create("png", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 8, 8, "rgb48be", Fraction(1)
    packets = encoder.encode(av.VideoFrame.from_ndarray(deep_YXC, format="rgb48be")) + encoder.encode(None)
    (tmp_path / "deep.png").write_bytes(b"".join(bytes(packet) for packet in packets))
    found_YXC = load_image(tmp_path / "deep.png")[0].astype(int)
    assert np.abs(found_YXC - (deep_YXC >> 8)).max() <= 1


@pytest.mark.parametrize("white", [0, 65535])
def test_sixteen_bits_of_a_scanner_whose_white_is_zero(tmp_path, white):
    grey_YX = np.arange(64 * 48, dtype=np.uint16).reshape(48, 64) * 21
    path = tmp_path / "scan.tif"
    Image.fromarray(grey_YX if white else 65535 - grey_YX).save(path, tiffinfo={262: 1 if white else 0})
    content = bytearray(path.read_bytes())
    field = content.index(b"\x06\x01\x03\0\x01\0\0\0")  # the photometric interpretation, which Pillow writes itself
    content[field + 8] = 1 if white else 0
    path.write_bytes(content)
    assert np.array_equal(load_image(path)[0, ..., 0], grey_YX >> 8)


def test_sixteen_bits_of_a_pgm(tmp_path):
    grey_YX = np.arange(64 * 48, dtype=np.uint16).reshape(48, 64) * 21
    Image.fromarray(grey_YX).save(tmp_path / "a.pgm")
    assert np.array_equal(load_image(tmp_path / "a.pgm")[0, ..., 0], grey_YX >> 8)


@pytest.mark.parametrize("mode", ["I", "F"])
def test_numbers_of_32_bits_are_refused_and_not_clipped(tmp_path, mode):
    Image.fromarray(np.linspace(0, 70000, 64).reshape(8, 8).astype({"I": np.int32, "F": np.float32}[mode])).save(
        tmp_path / "a.tif"
    )
    with pytest.raises(MediaError, match=r"numbers of 32 bits .*; save it with 8 or 16 bits"):
        load_image(tmp_path / "a.tif")


def test_a_tiff_of_several_pages_is_refused_and_one_with_a_thumbnail_read(tmp_path):
    page, *others = (Image.fromarray(noise(8, 8, 3) // (number + 1)) for number in range(3))
    page.save(tmp_path / "scan.tif", save_all=True, append_images=others)
    with pytest.raises(MediaError, match=r"scan\.tif: this is a TIFF of 3 pages, of which only one would be seen"):
        load_image(tmp_path / "scan.tif")
    small = Image.fromarray(noise(2, 2, 3))
    small.encoderinfo = {"tiffinfo": {254: 1}}
    page.save(tmp_path / "photo.tif", save_all=True, append_images=[small])
    with Image.open(tmp_path / "photo.tif") as image:
        image.seek(1)
        assert image.tag_v2.get(254) == 1
    np.testing.assert_array_equal(load_image(tmp_path / "photo.tif")[0], noise(8, 8, 3))


def test_two_views_of_one_photo_are_a_photo(tmp_path):
    """MPO: what phones write for depth, and stereo cameras."""
    views = [Image.fromarray(noise(16, 16, 3) // number) for number in (1, 2)]
    views[0].save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=views[1:])
    assert Image.open(tmp_path / "a.jpg").n_frames == 2
    assert picture_count(tmp_path / "a.jpg") == 1
    assert load_image(tmp_path / "a.jpg").shape == (1, 16, 16, 3)


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "AVIF"])
def test_one_picture_of_many_is_not_shown_without_a_word(tmp_path, form):
    first, *rest = (Image.fromarray(noise(16, 16, 3) // number) for number in (1, 2, 3))
    first.save(tmp_path / "a", form, save_all=True, append_images=rest)
    assert picture_count(tmp_path / "a") == 3
    with pytest.raises(MediaError, match=rf"this moves, it is a {form} of 3 pictures; ask about it with <video>"):
        load_image(tmp_path / "a")


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
    with pytest.raises(MediaError, match=r"empty\.png: it is empty"):
        load_image(tmp_path / "empty.png")
