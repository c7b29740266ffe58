import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlframe import ConfigError, MediaError, VideoInfo
from vlframe.config import MediaConfig
from vlframe.media.sampling import sample_indices

RECORDING = json.loads((Path(__file__).parent.parent / "recordings/preproc/frame_sample.json").read_text())


def info(frames: int, fps: float = 30.0) -> VideoInfo:
    return VideoInfo(frames=frames, fps=fps, height=8, width=8, has_audio=False)


@pytest.mark.parametrize("frames", RECORDING["uniform"])
def test_uniform_is_the_official_rule(frames):
    config = MediaConfig(frames=int(frames))
    for clip, indices in RECORDING["uniform"][frames].items():
        assert sample_indices(info(int(clip)), config) == indices, f"{frames} of {clip} frames"


@pytest.mark.parametrize("fps", RECORDING["fps"])
def test_fps_is_the_official_rule_where_the_rate_is_whole(fps):
    config = MediaConfig(sampling="fps", fps=1.0, frames=1_000_000)
    for clip, indices in RECORDING["fps"][fps].items():
        assert sample_indices(info(int(clip), float(fps)), config) == indices, f"{clip} frames at {fps} a second"


def test_fps_does_not_drift_at_a_broken_rate():
    """The official rule steps 29 frames at 29.97 a second: 33 frames late after half a minute."""
    config = MediaConfig(sampling="fps", fps=1.0, frames=100)
    indices = sample_indices(info(30 * 60, 30000 / 1001), config)
    assert len(indices) == 60
    for second, index in enumerate(indices):
        assert index == int((second + 0.5) * 30000 / 1001 + 1e-6)


def test_too_many_fps_frames_are_spread_over_the_clip():
    config = MediaConfig(sampling="fps", fps=1.0, frames=8)
    assert sample_indices(info(100 * 30), config) == sample_indices(info(100 * 30), MediaConfig(frames=8))
    assert sample_indices(info(8 * 30), config) == [15 + 30 * second for second in range(8)]


def test_fps_above_the_clips_own_takes_every_frame_once():
    assert sample_indices(info(5, 10.0), MediaConfig(sampling="fps", fps=25.0, frames=99)) == [0, 1, 2, 3, 4]


def test_bounds_choose_the_frames_on_show():
    config = MediaConfig(sampling="fps", fps=30.0, frames=1000)
    assert sample_indices(info(300), config, 2.0, 5.0) == list(range(60, 150))
    assert sample_indices(info(300), config, 0.1, 0.2) == [3, 4, 5]
    assert sample_indices(info(300), config, 0.11, 0.12) == [3]
    assert sample_indices(info(300), config, None, 0.5) == list(range(15))
    assert sample_indices(info(300), config, 9.5, None) == list(range(285, 300))


def test_bounds_beyond_the_clip_move_to_its_borders():
    config = MediaConfig(sampling="fps", fps=30.0, frames=1000)
    assert sample_indices(info(300), config, 9.0, 100.0) == list(range(270, 300))
    assert sample_indices(info(300), config, -3.0, 0.1) == [0, 1, 2]


@pytest.mark.parametrize(
    ("start", "end", "words"),
    [
        (5.0, 2.0, "start=5.0 is not before end=2.0"),
        (3.0, 3.0, "start=3.0 is not before end=3.0"),
        (10.0, None, "start=10.0 is not before the end of the clip, which lasts 10.000 s"),
        (11.0, 12.0, "which lasts 10.000 s"),
        (None, 0.0, "start=None is not before end=0.0"),
        (None, -1.0, "end=-1.0"),
        (float("nan"), None, "start=nan"),
        (None, float("nan"), "end=nan"),
    ],
)
def test_bounds_without_a_frame_are_refused(start, end, words):
    with pytest.raises(MediaError, match=words):
        sample_indices(info(300), MediaConfig(), start, end)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (MediaConfig(sampling="random"), "'random'; it can be uniform, fps"),
        (MediaConfig(frames=0), "media.frames is 0"),
        (MediaConfig(sampling="fps", fps=0.0), "media.fps is 0.0"),
    ],
)
def test_impossible_configurations_are_refused(config, words):
    with pytest.raises(ConfigError, match=words):
        sample_indices(info(300), config)


@settings(max_examples=80, deadline=None)
@given(
    clip=st.integers(1, 5000),
    clip_fps=st.floats(1, 120),
    frames=st.integers(1, 40),
    fps=st.floats(0.05, 60),
    bounds=st.tuples(st.floats(0, 0.9), st.floats(0.01, 1)),
)
def test_indices_are_ascending_and_inside_the_bounds(clip, clip_fps, frames, fps, bounds):
    video = info(clip, clip_fps)
    start, end = bounds[0] * video.seconds, (bounds[0] + bounds[1]) * video.seconds
    for sampling in ("uniform", "fps"):
        config = MediaConfig(sampling=sampling, frames=frames, fps=fps)
        indices = sample_indices(video, config, start, end)
        assert indices == sorted(indices)
        assert len(indices) == frames if sampling == "uniform" else 1 <= len(indices) <= frames
        assert indices[0] >= 0 and indices[-1] < clip
        assert (indices[0] + 1) / clip_fps >= start - 1e-3
        assert indices[-1] / clip_fps <= end + 1e-3
