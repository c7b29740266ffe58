from pathlib import Path

import numpy as np
import pytest
from helpers.clips import ClipSpec, write_clip, write_sound
from PIL import Image

from vlframe import MediaError
from vlframe.media.file_kind import media_kind

IMAGES = Path(__file__).parent.parent / "recordings/preproc/images"


def test_content_decides_and_not_the_name(tmp_path):
    assert media_kind(IMAGES / "palette.png") == "image"
    assert media_kind(write_clip(tmp_path, ClipSpec("clip.mp4", frames=3))) == "video"
    assert media_kind(write_clip(tmp_path, ClipSpec("clip.mkv", frames=3, sound="aac"))) == "video"
    sound = write_sound(tmp_path / "tone.mp3", "libmp3lame")
    assert media_kind(sound) == "audio"
    assert media_kind(sound.rename(tmp_path / "tone.mp4")) == "audio"
    assert media_kind((tmp_path / "clip.mp4").rename(tmp_path / "clip.jpg")) == "video"


def test_a_gif_of_several_pictures_is_a_video(tmp_path):
    pictures = [Image.fromarray(np.full((8, 8, 3), grey, np.uint8)) for grey in (0, 128, 255)]
    pictures[0].save(tmp_path / "one.gif")
    pictures[0].save(tmp_path / "three.gif", save_all=True, append_images=pictures[1:])
    assert media_kind(tmp_path / "one.gif") == "image"
    assert media_kind(tmp_path / "three.gif") == "video"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.mp4", b""),
        ("notes.txt", b"FFmpeg would render this as a terminal\n" * 40),
        ("list.m3u8", b"#EXTM3U\n#EXTINF:10,\nclip.ts\n"),
        ("noise.bin", bytes(range(256)) * 20),
    ],
)
def test_neither_image_nor_video_nor_sound(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(MediaError, match=name):
        media_kind(tmp_path / name)


def test_a_missing_file(tmp_path):
    with pytest.raises(MediaError, match="there is no such file"):
        media_kind(tmp_path / "no_such.mp4")
