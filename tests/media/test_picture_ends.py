"""Pictures and animations behind which another file was written."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from vlframe.errors import MediaError
from vlframe.media.file_kind import media_kind
from vlframe.media.images import load_image, opened_picture, picture_size
from vlframe.media.picture_ends import motion_jpeg, what_follows

KINDS = ["gif", "png", "webp", *(["avif"] if features.check("avif") else [])]
BEHIND = [b"", b"\0" * 7, b"\n"]


def pictures(folder: Path, kind: str, count: int) -> Path:
    rng = np.random.default_rng(count)
    made = [Image.fromarray(rng.integers(0, 255, (12, 17, 3), dtype=np.uint8)) for _ in range(count)]
    path = folder / f"{count}.{kind}"
    made[0].save(path, **({"save_all": True, "append_images": made[1:]} if count > 1 else {}))
    return path


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("between", BEHIND)
def test_another_one_behind_is_named_with_its_place(tmp_path: Path, kind: str, count: int, between: bytes) -> None:
    path = pictures(tmp_path, kind, count)
    alone = path.read_bytes()
    for other in KINDS:
        if other == "avif" and between == b"\n":
            continue
        path.write_bytes(alone + between + pictures(tmp_path, other, 2).read_bytes())
        with pytest.raises(MediaError, match=rf"another begins at byte {len(alone + between):,}: .* its own"):
            picture_size(path)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("rest", [b"", b"\0" * 40, b"some words of a writer", b"\xff\xd9" * 9])
def test_other_bytes_behind_are_no_second_file(tmp_path: Path, kind: str, count: int, rest: bytes) -> None:
    path = pictures(tmp_path, kind, count)
    path.write_bytes(path.read_bytes() + rest)
    with opened_picture(path) as image:
        assert image.size == (17, 12)
    assert media_kind(path) == ("image" if count == 1 else "video")


@pytest.mark.parametrize("kind", KINDS)
def test_a_film_behind_a_still_picture_is_left_alone_and_behind_an_animation_named(tmp_path: Path, kind: str) -> None:
    film = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + b"\0" * 40
    still, moving = pictures(tmp_path, kind, 1), pictures(tmp_path, kind, 3)
    for path in (still, moving):
        path.write_bytes(path.read_bytes() + film)
    assert load_image(still).shape == (1, 12, 17, 3)
    with pytest.raises(MediaError, match="an MP4 or MOV file"):
        picture_size(moving)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_cut_anywhere_has_nothing_behind(tmp_path: Path, kind: str) -> None:
    path = pictures(tmp_path, kind, 3)
    whole = path.read_bytes()
    for length in range(13, len(whole), 37):
        path.write_bytes(whole[:length])
        assert what_follows(path, {"webp": "WEBP"}.get(kind, kind.upper())) is None


def jpeg(width: int = 16, **how) -> bytes:
    made = io.BytesIO()
    Image.fromarray(np.full((16, width, 3), width, np.uint8)).save(made, "JPEG", **how)
    return made.getvalue()


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("count", [3, 40])
def test_motion_jpeg_is_named_and_never_one_picture_of_it(tmp_path: Path, count: int, progressive: bool) -> None:
    path = tmp_path / "door.jpg"
    path.write_bytes(jpeg(progressive=progressive) * count)
    assert motion_jpeg(path) == count and media_kind(path) == "video"
    for opened in (load_image, picture_size):
        with pytest.raises(MediaError, match=rf"this is Motion JPEG, {count} pictures .*ffmpeg -f mjpeg"):
            opened(path)


@pytest.mark.parametrize("behind", [b"", jpeg(), jpeg(8) + jpeg(24), b"words" + jpeg() * 2, jpeg()[:-40] + jpeg()])
def test_what_a_camera_writes_behind_a_photo_is_no_motion_jpeg(tmp_path: Path, behind: bytes) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(jpeg() + behind)
    assert motion_jpeg(path) == 1 and media_kind(path) == "image" and load_image(path).shape == (1, 16, 16, 3)
