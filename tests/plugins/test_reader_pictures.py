"""What players show: turned and mirrored clips, pictures that move, lists and folders of pictures; by all readers."""

import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from helpers.clips import ClipSpec, picture, write_clip
from PIL import Image

from vlframe import ConfigError, FrameList, MediaError, NoAudioTrack
from vlframe.media.file_kind import media_kind

READERS = ("auto", "decord", "pyav")
ONE = 65536
# The upper left four numbers of a display matrix (a, b, c, d), and what becomes of rows and columns of the picture.
MATRICES = {
    "plain": ((ONE, 0, 0, ONE), lambda p: p),
    "mirrored": ((-ONE, 0, 0, ONE), lambda p: p[:, ::-1]),
    "upside down, mirrored": ((ONE, 0, 0, -ONE), lambda p: p[::-1]),
    "half a turn": ((-ONE, 0, 0, -ONE), lambda p: p[::-1, ::-1]),
    "a quarter turn": ((0, ONE, -ONE, 0), lambda p: np.rot90(p, -1)),
    "three quarters": ((0, -ONE, ONE, 0), lambda p: np.rot90(p)),
    "transposed": ((0, ONE, ONE, 0), lambda p: p.swapaxes(0, 1)),
    "transposed the other way": ((0, -ONE, -ONE, 0), lambda p: np.rot90(p, 2).swapaxes(0, 1)),
    "twice as wide": ((2 * ONE, 0, 0, ONE), lambda p: p),
    "nothing": ((0, 0, 0, 0), lambda p: p),
}


@pytest.fixture(scope="module")
def readers(registry):
    return {name: registry.build("reader", {"name": name}) for name in READERS}


def with_matrix(source: Path, path: Path, upper: tuple[int, int, int, int]) -> Path:
    """A copy of an MP4 whose (first) track is shown so."""
    content = bytearray(source.read_bytes())
    at = content.index(b"tkhd") + 4 + 40  # version 0: 40 bytes of other things
    a, b, c, d = upper
    content[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("how", MATRICES)
def test_a_clip_is_turned_and_mirrored_as_its_matrix_says(readers, tmp_path, how):
    plain = write_clip(tmp_path, ClipSpec("plain.mp4", frames=3, height=56, width=64))
    upper, shown = MATRICES[how]
    path = with_matrix(plain, tmp_path / "shown.mp4", upper)
    frames_TYXC = readers["pyav"].frames(plain, range(3))
    for name, reader in readers.items():
        info = reader.info(path)
        wanted = np.stack([shown(frame_YXC) for frame_YXC in frames_TYXC])
        assert (info.frames, info.height, info.width) == wanted.shape[:3]
        if name == "decord" and ("mirrored" in how or "transposed" in how) and "half" not in how:
            with pytest.raises(
                MediaError, match=r"decord does not read this exactly \(its display matrix mirrors it\)"
            ):
                reader.frames(path, [0])
            continue
        np.testing.assert_array_equal(reader.frames(path, range(3)), wanted)


def test_a_matrix_that_slants_is_refused(readers, tmp_path):
    plain = write_clip(tmp_path, ClipSpec("plain.mp4", frames=3))
    half = round(ONE * 0.5**0.5)
    path = with_matrix(plain, tmp_path / "slanted.mp4", (half, half, -half, half))
    for reader in readers.values():
        with pytest.raises(MediaError, match=r"slanted\.mp4: its display matrix turns the picture by 45 degrees"):
            reader.info(path)


# Pictures that move


def moving(path: Path, form: str, count: int = 5, duration=100, **options) -> list[np.ndarray]:
    pictures = [picture(index, 32, 48) for index in range(count)]
    first, *rest = (Image.fromarray(picture_YXC) for picture_YXC in pictures)
    lossless = {"WEBP": {"lossless": True}, "AVIF": {"quality": 100, "subsampling": "4:4:4"}}.get(form, {})
    first.save(path, form, save_all=True, append_images=rest, duration=duration, **lossless, **options)
    return pictures


@pytest.mark.parametrize("form", ["WEBP", "PNG", "AVIF", "GIF"])
def test_pictures_that_move_are_clips(readers, tmp_path, form):
    path = tmp_path / f"moving.{form.lower()}"
    pictures = moving(path, form)
    assert media_kind(path) == "video"
    for name, reader in readers.items():
        info = reader.info(path)
        assert (info.frames, info.fps, info.height, info.width, info.has_audio) == (5, 10.0, 32, 48, False)
        assert info.times is None and info.seconds == pytest.approx(0.5)
        if name == "decord" and form == "GIF":
            continue
        found = reader.frames(path, [3, 0, 3])
        if form in ("WEBP", "PNG"):
            np.testing.assert_array_equal(found, np.stack([pictures[index] for index in (3, 0, 3)]))
        distance = [[np.abs(frame.astype(int) - written).mean() for written in pictures] for frame in found]
        assert np.argmin(distance, axis=1).tolist() == [3, 0, 3]
        with pytest.raises(MediaError, match="it has 5, counted from 0"):
            reader.frames(path, [5])


@pytest.mark.parametrize("form", ["WEBP", "PNG", "AVIF"])
def test_each_picture_is_shown_as_long_as_it_says(readers, tmp_path, form):
    path = tmp_path / "slides"  # no suffix: the content decides
    moving(path, form, 4, duration=[100, 900, 40, 500])
    info = readers["auto"].info(path)
    assert info.times == pytest.approx((0.0, 0.1, 1.0, 1.04), abs=0.002)
    assert info.end == pytest.approx(1.54, abs=0.002)
    assert media_kind(path) == "video"


def test_a_png_whose_first_picture_is_for_viewers_that_cannot_move_it(readers, tmp_path):
    pictures = moving(tmp_path / "a.png", "PNG", default_image=True)
    assert readers["auto"].info(tmp_path / "a.png").frames == 4
    np.testing.assert_array_equal(readers["auto"].frames(tmp_path / "a.png", [0])[0], pictures[1])


@pytest.mark.parametrize("form", ["WEBP", "PNG", "AVIF"])
def test_a_moving_picture_cut_short_is_refused(readers, tmp_path, form):
    path = tmp_path / "cut"
    moving(path, form)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.6)])
    for reader in readers.values():
        with pytest.raises(MediaError, match=f"^{path}: "):
            reader.frames(path, range(reader.info(path).frames))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF", "BMP", "GIF"])
def test_a_still_picture_is_no_clip_and_no_sound(readers, tmp_path, form):
    path = tmp_path / "photo.mp4"
    Image.fromarray(picture(0, 32, 48)).save(path, form)
    assert media_kind(path) == "image"
    for reader in readers.values():
        with pytest.raises(MediaError, match=r"a still image; ask about it with <image>, not <video>"):
            reader.info(path)
        with pytest.raises(MediaError, match=r"which has no sound|it has no audio track"):
            reader.audio(path, 16000, None, None)


# Lists and folders


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF"])
def test_a_list_and_a_folder_of_one_picture_are_clips_of_one_frame(readers, tmp_path, form):
    (tmp_path / "frames").mkdir()
    path = tmp_path / "frames" / f"1.{form.lower()}"
    Image.fromarray(picture(0, 32, 48)).save(path, form)
    for reader in readers.values():
        for clip in (FrameList([path]), path.parent):
            assert reader.info(clip).frames == 1 and reader.frames(clip, [0]).shape == (1, 32, 48, 3)


@pytest.fixture
def folder(tmp_path):
    """Twelve pictures, 1.png to 12.png, among other files."""
    where = tmp_path / "frames"
    where.mkdir()
    for index in range(12):
        Image.fromarray(picture(index, 24, 32)).save(where / f"{index + 1}.png")
    (where / "notes.txt").write_text("of no interest")
    (where / ".hidden.png").write_text("of none either")
    return where


def test_a_folder_of_pictures_is_a_clip_in_the_order_of_their_names(readers, folder):
    assert media_kind(folder) == "video"
    for reader in readers.values():
        info = reader.info(folder)
        assert (info.frames, info.fps, info.height, info.width, info.seconds) == (12, 1.0, 24, 32, 12.0)
        np.testing.assert_array_equal(reader.frames(folder, [9, 1]), np.stack([picture(k, 24, 32) for k in (9, 1)]))
        with pytest.raises(NoAudioTrack, match="no audio track"):
            reader.audio(folder, 16000, None, None)


def test_a_list_of_pictures_is_a_clip_in_its_own_order(readers, folder):
    files = FrameList(folder / f"{number}.png" for number in (3, 1, 2))
    assert media_kind(files) == "video"
    for reader in readers.values():
        assert reader.info(files).frames == 3
        wanted = np.stack([picture(k, 24, 32) for k in (2, 0, 1)])
        np.testing.assert_array_equal(reader.frames(files, range(3)), wanted)


def test_the_rate_of_a_list_is_a_setting(registry, folder):
    info = registry.build("reader", {"name": "auto", "picture_fps": 2.5}).info(folder)
    assert (info.fps, info.seconds) == (2.5, 12 / 2.5)
    for wrong in (0.0, -1.0, float("inf")):
        with pytest.raises(ConfigError, match=r"reader\.picture_fps"):
            registry.build("reader", {"name": "auto", "picture_fps": wrong})


def test_lists_that_are_no_clips(readers, folder, tmp_path):
    reader = readers["auto"]
    with pytest.raises(MediaError, match="holds no pictures"):
        (tmp_path / "empty").mkdir()
        reader.info(tmp_path / "empty")
    with pytest.raises(MediaError, match="empty list"):
        reader.info(FrameList())
    Image.fromarray(picture(0, 40, 40)).save(folder / "12.png")
    with pytest.raises(MediaError, match="frame 11 is 40x40, and the first one 32x24"):
        reader.frames(folder, [0, 11])
    (folder / "2.png").write_bytes(b"broken")
    with pytest.raises(MediaError, match=r"2\.png: this is plain text"):
        reader.frames(folder, [1])
    moving(folder / "3.png", "PNG")
    with pytest.raises(MediaError, match=r"3\.png: this moves"):
        reader.frames(folder, [2])
    shutil.rmtree(folder)
    with pytest.raises(MediaError, match="No such file"):
        reader.info(folder)
