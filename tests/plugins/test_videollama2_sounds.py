"""The processor `videollama2`: sound against the official code."""

import hashlib
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.clips import ClipSpec, write_clip
from helpers.videollama2_processor import RECORDINGS, Greys, processor, source
from safetensors.torch import load_file
from vlframe_beats.fbank import Fbank
from vlframe_videollama2 import sound
from vlframe_videollama2.settings import OfficialProcessorParams

from vlframe import (
    Media,
    MediaError,
    NoAudioTrack,
)
from vlframe.config.schema import MediaConfig
from vlframe.media.loader import MediaLoader

SOUNDS = json.loads((RECORDINGS / "sound.json").read_text())["entries"]
BEATS = Fbank(seconds=30.0, pad=True, shortest=16)
HEARING = OfficialProcessorParams(branch="audio_visual")


def sound_file(entry: dict[str, Any], folder: Path | None) -> Path:
    shipped = RECORDINGS / Path(entry["file"]).with_suffix(".flac")
    if shipped.is_file():
        return shipped
    path = (folder or Path()) / entry["file"]
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != entry["sha256_file"]:
        pytest.skip(f"{path} is not the file of the recording")
    return path


# MKL's kernels for the processor at hand may differ in the last bit of a float32, and one in some thousand values then
# falls on the other side of bf16's rounding. Its portable kernels, with which the recordings agree, give every bit.
PORTABLE = os.environ.get("MKL_CBWR") == "COMPATIBLE"


def same(features_FM: torch.Tensor, entry: dict[str, Any]) -> None:
    rounded = features_FM.to(torch.bfloat16)
    assert features_FM.dtype == torch.float32 and torch.equal(rounded.float(), features_FM)
    recorded = load_file(RECORDINGS / "sound.safetensors")[entry["file"]]
    if PORTABLE:
        torch.testing.assert_close(rounded[::32], recorded, rtol=0, atol=0)
        assert hashlib.sha256(rounded.view(torch.int16).numpy().tobytes()).hexdigest() == entry["sha256_bf16"]
    else:
        torch.testing.assert_close(rounded[::32], recorded, rtol=2**-7, atol=0)  # the next number that bf16 has
        assert (rounded[::32] != recorded).float().mean() < 1e-3


@pytest.mark.skipif(not torch.backends.mkl.is_available(), reason="the recordings are MKL's to the last bit")
def test_sound_is_the_recorded_to_the_last_bit() -> None:
    """The two tests below in a process that has MKL's portable kernels: they are chosen when it starts."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    command += ["-k", "test_sound_files or test_the_track_of_a_video"]
    done = subprocess.run(command, env={**os.environ, "MKL_CBWR": "COMPATIBLE"}, capture_output=True, text=True)
    assert done.returncode == 0 and " passed" in done.stdout, done.stdout


@pytest.mark.parametrize("entry", [e for e in SOUNDS if not e["track"]], ids=lambda entry: entry["file"])
def test_sound_files(entry: dict[str, Any], request: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = (RECORDINGS / Path(entry["file"]).with_suffix(".flac")).is_file()
    path = sound_file(entry, None if shipped else request.getfixturevalue("media_folder"))
    waveform_L, rate = sound.first_channel(path)
    assert (rate, len(waveform_L)) == (entry["rate"], entry["frames"])
    spare = entry["frames"] - 30 * entry["rate"]
    if entry["crop_start"] is not None:  # where the recording began

        def drawn(low: int, high: int) -> int:
            assert (low, high) == (0, spare)
            return entry["crop_start"]

        monkeypatch.setattr(random, "randint", drawn)
    ours = processor(branch="audio_visual")
    same(ours.seen(Media("audio", path), source(audio=BEATS)), entry)


@pytest.mark.parametrize("entry", [e for e in SOUNDS if e["track"]], ids=lambda entry: entry["file"])
def test_the_track_of_a_video(entry: dict[str, Any], media_folder: Path, registry: Any) -> None:
    path = sound_file(entry, media_folder)
    reader = registry.build("reader", {"name": "auto"})
    waveform_L = reader.audio(path, 16000, None, None)
    samples = (waveform_L * 32768).astype(np.int16)
    assert len(samples) == entry["samples"]
    assert hashlib.sha256(samples.tobytes()).hexdigest() == entry["sha256_int16"]
    where = source(audio=BEATS, reader=reader)
    for bounds in [(None, None), (1.0, 2.0)]:  # which are ignored
        same(processor(branch="audio_visual").seen(Media("audio", path, *bounds, track=True), where), entry)


def test_clips_of_a_track() -> None:
    entry = next(entry for entry in SOUNDS if entry["track"])
    spans = sound.clip_spans(entry["samples"] / 16000, 8, 2.0)
    assert [[int(begin * 16000), int(end * 16000)] for begin, end in spans] == entry["spans"]
    assert list(sound.clip_spans(1.5, 8, 2.0)) == [(0, 2)] * 8  # shorter than a clip: eight times the same


class Samples:
    """An audio spec whose features are the waveform."""

    sampling_rate = 100
    seconds = 3.0

    def features(self, waveform_L: torch.Tensor) -> torch.Tensor:
        return waveform_L[:, None]


def heard(media: Media, **settings: Any) -> list[float]:
    exact = {"branch": "audio_visual", "round_to_bf16": False, "crop": "start", **settings}
    return processor(**exact).seen(media, source(reader=Greys(), audio=Samples()))[:, 0].tolist()


def test_tracks_can_be_heard_whole_and_within_their_bounds() -> None:
    track = Media("audio", Path("a.mp4"), 1.0, 2.0, track=True)
    assert heard(track, track_clips=0) == list(range(300))
    assert heard(track, track_clips=0, track_bounds=True) == [*range(100, 200), *[0.0] * 200]
    assert heard(track, track_clips=2, track_clip_seconds=1.0) == [*range(100), *range(1950, 2050), *[0.0] * 100]


def test_a_long_sound_is_cut_where_the_setting_says() -> None:
    media = Media("audio", Path("a.mp4"), track=True)
    spare = 100 * 40 - 300
    random.seed(5)
    official = [heard(media, track_clips=0, crop="random")[0] for _ in range(3)]
    random.seed(5)
    assert official == [float(random.randint(0, spare)) for _ in range(3)]
    seeded = [heard(media, track_clips=0, crop="seeded", seed=seed)[0] for seed in (1, 1, 2)]
    assert seeded[0] == seeded[1] != seeded[2] and 0 <= seeded[0] <= spare
    other = heard(Media("audio", Path("b.mp4"), track=True), track_clips=0, crop="seeded", seed=1)
    assert other[0] != seeded[0]


def test_random_sound_is_never_taken_from_a_cache(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"stands for a clip")
    media = Media("audio", path, track=True)

    def loads(crop: str) -> list[Any]:
        ours = processor(branch="audio_visual", crop=crop, track_clips=0)
        loader = MediaLoader(Greys(), MediaConfig(cache_mb=9), {"audio": Samples()}, None, processor=ours)
        return [loader.load(media) for _ in range(2)]

    first, second = loads("random")
    assert first.key != second.key and not torch.equal(first.tensor, second.tensor)
    first, second = loads("seeded")
    assert first.key == second.key and first.tensor is second.tensor


class Deaf(Greys):
    def audio(self, path: Path, sampling_rate: int, start: float | None, end: float | None) -> np.ndarray:
        raise NoAudioTrack(f"{path}: it has no audio track")


def test_a_missing_track_is_silence_or_follows_the_policy() -> None:
    track = Media("audio", Path("a.mp4"), track=True)
    quiet = processor(branch="audio_visual").seen(track, source(reader=Deaf(), audio=BEATS))
    assert quiet.shape == (2998, 128) and quiet.unique().tolist() == [-15.9375]
    policy = processor(branch="audio_visual", missing_track="policy")
    with pytest.raises(NoAudioTrack):
        policy.seen(track, source(reader=Deaf(), audio=BEATS))
    assert torch.equal(policy.seen(track, source(reader=Deaf(), audio=BEATS, missing_audio="silence")), quiet)


def test_channels_bounds_and_files_without_sound(tmp_path: Path) -> None:
    path = write_clip(tmp_path, ClipSpec("tone.mkv", frames=25, sound="pcm_s16le"))
    spec = Samples()
    spec.sampling_rate = rate = sound.first_channel(path)[1]
    left = sound.of_file(Media("audio", path), source(audio=spec), spec, HEARING)
    assert left.dtype == np.float64 and len(left) == 3 * rate
    part = sound.of_file(Media("audio", path, 0.25, 0.5), source(audio=spec), spec, HEARING)
    np.testing.assert_array_equal(part[: rate // 4], left[rate // 4 : rate // 2])
    assert not part[rate // 4 :].any()
    with pytest.raises(MediaError, match=r"no sound with start=99"):
        sound.of_file(Media("audio", path, 99.0), source(audio=spec), spec, HEARING)
    silent = write_clip(tmp_path, ClipSpec("silent.mp4", frames=5))
    with pytest.raises(NoAudioTrack, match="it has no audio track"):
        sound.first_channel(silent)
    (tmp_path / "noise.wav").write_bytes(b"no sound at all")
    with pytest.raises(MediaError, match=r"noise\.wav: its sound cannot be read"):
        sound.first_channel(tmp_path / "noise.wav")
    mixed = OfficialProcessorParams(branch="audio_visual", channel="mixed")
    both = sound.of_file(Media("audio", path), source(audio=BEATS, reader=Greys()), BEATS, mixed)
    assert both.dtype == np.float64 and len(both) == 480000


@pytest.mark.parametrize(("length", "rate"), [(800, 8000), (803, 8000), (441, 44100), (2205, 22050), (999, 48000)])
def test_resampling_is_that_of_scipy(length: int, rate: int) -> None:
    """As recorded from ``scipy.signal.resample`` (1.17.1)."""
    recorded_L = load_file(RECORDINGS / "resampled.safetensors")[f"{length}@{rate}"].numpy()
    waveform_L = np.random.default_rng(0).standard_normal(length)
    np.testing.assert_allclose(sound.resampled(waveform_L, rate, 16000), recorded_L, rtol=0, atol=1e-12)
