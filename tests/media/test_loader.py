import pickle
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.clips import ClipSpec, tone, write_clip, write_sound
from helpers.loading import media_loader
from PIL import Image

from vlframe import ConfigError, Media, MediaError, NoAudioTrack, SquarePixels, VideoInfo
from vlframe.contracts.batch import MediaFile
from vlframe.errors import UnknownName
from vlframe.media.loader import MediaLoader

PIXELS = SquarePixels(size=16, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
IMAGES = Path(__file__).parent.parent / "recordings/preproc/images"


@dataclass(frozen=True)
class Loudness:
    """An audio spec whose features are the waveform in columns of four samples."""

    sampling_rate: int = 8000
    seconds: float = 1.0

    def features(self, waveform_L: torch.Tensor) -> torch.Tensor:
        return waveform_L[: len(waveform_L) // 4 * 4].reshape(-1, 4)


class CountingReader:
    """A clip of 4 s at 10 frames a second, each frame of one grey; notes what it is asked for."""

    def __init__(self, has_audio: bool = True) -> None:
        self.has_audio = has_audio
        self.asked: list[object] = []

    def info(self, path):
        return VideoInfo(frames=40, fps=10.0, height=6, width=8, has_audio=self.has_audio)

    def frames(self, path, indices):
        self.asked.append(list(indices))
        return np.stack([np.full((6, 8, 3), index, np.uint8) for index in indices])

    def audio(self, path, sampling_rate, start, end):
        if not self.has_audio:
            raise NoAudioTrack(f"{path}: it has no audio track")
        self.asked.append((sampling_rate, start, end))
        first = round((start or 0) * sampling_rate)
        return np.arange(first, round(4 * sampling_rate), dtype=np.float32)[: round((end or 4) * sampling_rate) - first]


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "clip.mp4"
    file.write_bytes(b"stands for a clip")
    return file


def loader(reader=None, audio=None, pixels=PIXELS, **config) -> MediaLoader:
    return media_loader(reader or CountingReader(), pixels, audio, **config)


def test_a_video_is_bytes_in_the_encoders_size(path):
    loaded = loader(frames=4).load(Media("video", path))
    assert isinstance(loaded, MediaFile) and loaded.kind == "video"
    assert loaded.tensor.dtype == torch.uint8
    assert loaded.tensor.shape == (4, 3, 16, 16)
    assert loaded.tensor[:, 0, 0, 0].tolist() == [5, 15, 24, 34]


def test_repeated_frames_are_decoded_once(path):
    reader = CountingReader()
    loaded = loader(reader, frames=8).load(Media("video", path, start=1.0, end=1.3))
    assert loaded.tensor[:, 0, 0, 0].tolist() == [10, 10, 11, 11, 11, 11, 12, 12]
    assert reader.asked == [[10, 11, 12]]


def test_bad_bounds_name_the_file(path):
    with pytest.raises(MediaError, match=f"^{path}: start=9 is not before the end of the clip"):
        loader().load(Media("video", path, start=9))


def test_an_image_is_one_frame():
    loaded = loader().load(Media("image", IMAGES / "rgba.png"))
    assert loaded.tensor.shape == (1, 3, 16, 16)
    assert loaded.tensor.dtype == torch.uint8


def test_an_image_asked_about_as_a_video(tmp_path):
    with pytest.raises(MediaError, match="ask about it with <image>"):
        loader().load(Media("video", IMAGES / "wide.png"))
    clip = tmp_path / "really_a_clip.png"
    clip.write_bytes(b"stands for a clip")
    assert loader(frames=2).load(Media("video", clip)).tensor.shape[0] == 2


def test_a_video_asked_about_as_an_image(tmp_path):
    clip = write_clip(tmp_path, ClipSpec("clip.mp4", frames=3))
    with pytest.raises(MediaError, match="a clip is asked about with <video>"):
        loader().load(Media("image", clip))


def test_sound_is_cut_to_what_the_encoder_hears(path):
    reader = CountingReader()
    loaded = loader(reader, audio=Loudness()).load(Media("audio", path, start=0.5))
    assert loaded.tensor.dtype == torch.float32
    assert loaded.tensor.shape == (2000, 4)
    assert loaded.tensor.flatten()[0] == 4000
    assert reader.asked == [(8000, 0.5, 1.5)]
    assert loader(reader, audio=Loudness()).load(Media("audio", path, end=0.25)).tensor.shape == (500, 4)


def test_sound_for_a_model_that_does_not_hear(path):
    with pytest.raises(ConfigError, match="choose an encoder for it"):
        loader().load(Media("audio", path))


@pytest.mark.parametrize("policy", ["error", "drop"])
def test_a_missing_track_is_told_apart(path, policy):
    with pytest.raises(NoAudioTrack, match="it has no audio track"):
        loader(CountingReader(has_audio=False), Loudness(), missing_audio=policy).load(Media("audio", path, track=True))


@pytest.mark.parametrize(
    ("bounds", "seconds"), [((None, None), 4.0), ((1.0, None), 3.0), ((3.5, 9.0), 0.5), ((-1.0, 1.0), 1.0)]
)
def test_a_missing_track_can_be_silence_as_long_as_the_video(path, bounds, seconds):
    silent = loader(CountingReader(has_audio=False), Loudness(seconds=30.0), missing_audio="silence")
    features_FM = silent.load(Media("audio", path, *bounds, track=True)).tensor
    assert features_FM.shape == (seconds * 2000, 4)
    assert not features_FM.any()
    capped = loader(CountingReader(has_audio=False), Loudness(), missing_audio="silence")
    assert len(capped.load(Media("audio", path, *bounds, track=True)).tensor) == min(seconds, 1.0) * 2000
    with pytest.raises(NoAudioTrack):  # a file that was given for its sound
        silent.load(Media("audio", path, *bounds))


@pytest.mark.parametrize("config", [{"sampler": {"name": "first"}}])
def test_impossible_configurations_are_refused_at_once(config):
    with pytest.raises(UnknownName):
        loader(**config)


def test_keys_are_equal_for_equal_content(path):
    load = loader(frames=2, audio=Loudness()).load
    first = load(Media("video", path)).key
    assert first == load(Media("video", path)).key
    others = [
        load(Media("video", path, start=1.0)).key,
        load(Media("video", path, end=1.0)).key,
        load(Media("audio", path)).key,
        load(Media("audio", path, track=True, start=1.0)).key,
        loader(frames=3).load(Media("video", path)).key,
        loader(frames=2, audio=Loudness(seconds=2.0)).load(Media("audio", path)).key,
    ]
    assert len({first, *others}) == 1 + len(others)
    path.write_bytes(b"stands for another clip")
    assert load(Media("video", path)).key != first


def test_the_cache_decodes_once_and_stays_within_its_size(path, tmp_path):
    reader = CountingReader()
    large = SquarePixels(size=200, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    load = loader(reader, pixels=large, frames=4, cache_mb=1).load  # a clip is 480 kB: two of them fit
    clips = [shutil.copyfile(path, tmp_path / f"{name}.mp4") for name in "abc"]
    for clip in (clips[0], clips[1], clips[0], clips[0]):
        load(Media("video", clip))
    assert len(reader.asked) == 2
    load(Media("video", clips[2]))  # the one used longest ago, b, makes room
    load(Media("video", clips[0]))
    assert len(reader.asked) == 3
    load(Media("video", clips[1]))
    assert len(reader.asked) == 4


def test_without_a_cache_nothing_is_kept(path):
    reader = CountingReader()
    load = loader(reader, frames=2).load
    assert torch.equal(load(Media("video", path)).tensor, load(Media("video", path)).tensor)
    assert len(reader.asked) == 2


@pytest.mark.parametrize("kind", ["video", "image", "audio"])
def test_a_missing_file(kind, tmp_path):
    with pytest.raises(MediaError, match=r"no_such\.file: there is no such file"):
        loader(audio=Loudness()).load(Media(kind, tmp_path / "no_such.file"))


def test_real_readers_in_another_process_read_the_same(registry, tmp_path):
    """A loader travels to data workers."""
    clip = write_clip(tmp_path, ClipSpec("clip.mp4", sound="aac"))
    config = {"frames": 4, "audio": Loudness(), "reader": registry.build("reader", {"name": "auto"})}
    here, there = loader(**config), pickle.loads(pickle.dumps(loader(**config)))
    for kind in ("video", "audio"):
        assert torch.equal(here.load(Media(kind, clip)).tensor, there.load(Media(kind, clip)).tensor)
    left_L, right_L = tone(1.6, 8000).reshape(-1, 2).T
    heard_L = here.load(Media("audio", clip)).tensor.flatten()
    assert len(heard_L) == 8000
    assert heard_L.square().mean().sqrt() == pytest.approx(
        np.sqrt(np.mean(((left_L + right_L)[:8000] / 65536) ** 2)), rel=0.1
    )


def test_sound_files(registry, tmp_path):
    path = write_sound(tmp_path / "tone.flac", "flac", seconds=0.5)
    loaded = loader(registry.build("reader", {"name": "auto"}), Loudness()).load(Media("audio", path))
    assert loaded.tensor.shape == (1000, 4)


def test_a_gif_is_a_clip(registry, tmp_path):
    path = tmp_path / "three.gif"
    pictures = [Image.fromarray(np.full((12, 12, 3), grey, np.uint8)) for grey in (0, 128, 255)]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=100)
    loaded = loader(registry.build("reader", {"name": "auto"}), frames=3).load(Media("video", path))
    assert loaded.tensor[:, 0, 8, 8].tolist() == [0, 128, 255]
