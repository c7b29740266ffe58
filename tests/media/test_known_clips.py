import os

import numpy as np
import pytest
from helpers.loading import media_loader

from vlframe import Media, MediaError, SquarePixels, VideoInfo
from vlframe.media.known_clips import KnownClips

PIXELS = SquarePixels(size=16, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


class CountingReader:
    """Clips of as many frames as their file has bytes; notes each question about one."""

    def __init__(self):
        self.asked = []

    def info(self, path):
        self.asked.append(path.name)
        if not path.stat().st_size:
            raise MediaError(f"{path}: it is empty")
        return VideoInfo(frames=path.stat().st_size, fps=10.0, height=6, width=8, has_audio=False)

    def frames(self, path, indices):
        return np.zeros((len(indices), 6, 8, 3), np.uint8)


def clips(folder, *sizes):
    paths = [folder / f"{number}.mp4" for number in range(len(sizes))]
    for path, size in zip(paths, sizes, strict=True):
        path.write_bytes(b"f" * size)
    return paths


def test_a_file_is_asked_about_once(tmp_path):
    reader = CountingReader()
    known = KnownClips(reader)
    first, second = clips(tmp_path, 4, 6)
    assert [known.info(path).frames for path in (first, second, first, second)] == [4, 6, 4, 6]
    assert reader.asked == ["0.mp4", "1.mp4"]


def test_a_changed_file_is_asked_about_again(tmp_path):
    reader = CountingReader()
    known = KnownClips(reader)
    (path,) = clips(tmp_path, 4)
    known.info(path)
    path.write_bytes(b"f" * 5)
    assert known.info(path).frames == 5
    os.utime(path, ns=(1, 1))
    assert known.info(path).frames == 5 and len(reader.asked) == 3


def test_a_refusal_is_not_remembered(tmp_path):
    reader = CountingReader()
    known = KnownClips(reader)
    (path,) = clips(tmp_path, 0)
    for _ in range(2):
        with pytest.raises(MediaError, match="it is empty"):
            known.info(path)
    assert len(reader.asked) == 2
    path.unlink()
    with pytest.raises(MediaError, match="there is no such file"):
        known.info(path)


def test_what_is_kept_stays_within_the_limit(tmp_path):
    reader = CountingReader()
    known = KnownClips(reader, limit=10)
    first, second, third, long = clips(tmp_path, 4, 4, 4, 11)
    for path in (first, second, first, third):  # the second one is the oldest when the third one comes
        known.info(path)
    assert known.known.held == 8
    reader.asked.clear()
    for path in (first, third, second, long, long):
        known.info(path)
    assert reader.asked == ["1.mp4", "3.mp4", "3.mp4"]  # a clip that is longer than the limit is never kept


@pytest.mark.parametrize("cache_mb", [0, 1])
def test_the_frames_of_a_clip_that_is_used_again_are_chosen_without_opening_its_file(tmp_path, cache_mb):
    reader = CountingReader()
    loader = media_loader(reader, PIXELS, cache_mb=cache_mb)
    (path,) = clips(tmp_path, 40)
    loaded = [loader.load(Media("video", path, start=start)) for start in (None, 1.0, None)]
    assert reader.asked == ["0.mp4"]
    assert loaded[0].key == loaded[2].key != loaded[1].key
