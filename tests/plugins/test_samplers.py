"""Samplers: the official numbers at a constant rate, seconds where the rate varies."""

import json
import math
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlframe import ConfigError, MediaError, VideoInfo, frame_at

RECORDING = json.loads((Path(__file__).parent.parent / "recordings/preproc/frame_sample.json").read_text())
SAMPLERS = (
    {"name": "uniform"},
    {"name": "fps", "fps": 1.5},
    {"name": "segments"},
    {"name": "interval", "every": 0.7},
    {"name": "interval", "every": 3, "unit": "frames", "offset": 2},
)


def info(frames: int, fps: float = 30.0, begin: float = 0.0) -> VideoInfo:
    return VideoInfo(frames=frames, fps=fps, height=8, width=8, has_audio=False, begin=begin)


def uneven(times: list[float], end: float) -> VideoInfo:
    rate = (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else 1.0
    return VideoInfo(len(times), rate, 8, 8, False, times[0], tuple(times), end)


RED_THEN_BLUE = uneven([k / 2 for k in range(8)] + [4 + k / 20 for k in range(80)], 8.0)


@pytest.fixture
def sample(registry):
    """Returns the indices that a sampler gives; ``frames`` is ``media.frames``."""

    def indices(video, start=None, end=None, *, frames=1_000_000, training=False, seed=0, **config):
        sampler = registry.build("sampler", config, frames=frames)
        return sampler.indices(video, start, end, training=training, generator=np.random.default_rng(seed))

    return indices


@pytest.mark.parametrize("frames", RECORDING["uniform"])
def test_uniform_is_the_official_rule(sample, frames):
    for clip, indices in RECORDING["uniform"][frames].items():
        assert sample(info(int(clip)), name="uniform", frames=int(frames)) == indices, f"{frames} of {clip} frames"


@pytest.mark.parametrize("fps", RECORDING["fps"])
def test_fps_is_the_official_rule_where_the_rate_is_whole(sample, fps):
    for clip, indices in RECORDING["fps"][fps].items():
        assert sample(info(int(clip), float(fps)), name="fps") == indices, f"{clip} frames at {fps} a second"


@pytest.mark.parametrize("rate", [30000 / 1001, 24000 / 1001, 60000 / 1001])
def test_fps_does_not_drift_at_a_broken_rate(sample, rate):
    """The official rule steps 29 frames at 29.97 a second: 33 frames late after half a minute."""
    indices = sample(info(math.floor(60 * rate) + 1, rate), name="fps")
    assert len(indices) == 60
    for second, index in enumerate(indices):
        assert index == int((second + 0.5) * rate + 1e-6)


def test_too_many_fps_frames_are_spread_over_the_clip_and_it_is_said(registry, sample):
    minutes = info(120 * 30)
    assert sample(minutes, name="fps", frames=8) == sample(minutes, name="uniform", frames=8)
    sampler = registry.build("sampler", {"name": "fps"}, frames=8)
    assert sampler.note(minutes, None, None) == "120 frames at 1 fps, cut to 8"
    assert sampler.note(minutes, 3.0, 11.0) == ""
    assert sample(info(8 * 30), name="fps", frames=8) == [15 + 30 * second for second in range(8)]


def test_fps_above_the_clips_own_takes_every_frame_once(sample):
    assert sample(info(5, 10.0), name="fps", fps=25.0) == [0, 1, 2, 3, 4]
    assert sample(uneven([0.0, 0.1, 0.3, 0.6], 0.7), name="fps", fps=25.0) == [0, 1, 1, 2, 2, 2, 3]  # as it is shown


def test_bounds_choose_the_frames_on_show(sample):
    every = {"name": "fps", "fps": 30.0}
    assert sample(info(300), 2.0, 5.0, **every) == list(range(60, 150))
    assert sample(info(300), 0.1, 0.2, **every) == [3, 4, 5]
    assert sample(info(300), 0.11, 0.12, **every) == [3]
    assert sample(info(300), None, 0.5, **every) == list(range(15))
    assert sample(info(300), 9.5, None, **every) == list(range(285, 300))
    assert sample(info(300), 9.0, 100.0, **every) == list(range(270, 300))
    assert sample(info(300), -3.0, 0.1, **every) == [0, 1, 2]


@pytest.mark.parametrize("config", SAMPLERS, ids=str)
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
def test_bounds_without_a_frame_are_refused(sample, config, start, end, words):
    with pytest.raises(MediaError, match=words):
        sample(info(300), start, end, frames=8, **config)


def test_pictures_that_begin_late_are_counted_from_their_own_beginning(sample):
    late = info(100, 10.0, begin=2.0)  # on show from second 2 to second 12
    assert sample(late, 4.0, 6.0, name="uniform", frames=2) == sample(
        info(100, 10.0), 2.0, 4.0, name="uniform", frames=2
    )
    assert sample(late, 0.0, 2.1, name="fps", fps=10.0) == [0]
    with pytest.raises(MediaError, match=r"nothing is shown from start=0.5 to end=1.5; .* from 2.000 to 12.000 s"):
        sample(late, 0.5, 1.5, name="uniform", frames=2)


def test_seconds_are_seconds_where_the_rate_varies(sample):
    """Seconds 0 to 4 are frames 0 to 7 (red), 4 to 8 frames 8 to 87 (blue)."""
    red = lambda indices: [index < 8 for index in indices]  # noqa: E731
    for name in ("uniform", "segments"):
        assert red(sample(RED_THEN_BLUE, 0, 4, name=name, frames=4)) == [True] * 4
        assert red(sample(RED_THEN_BLUE, 4, 8, name=name, frames=4)) == [False] * 4
        assert red(sample(RED_THEN_BLUE, name=name, frames=8)) == [True] * 4 + [False] * 4
    assert red(sample(RED_THEN_BLUE, name="fps", frames=8)) == [True] * 4 + [False] * 4
    assert sample(RED_THEN_BLUE, name="interval", every=2.0) == [0, 4, 8, 48]
    assert sample(RED_THEN_BLUE, 3.0, name="interval", every=40, unit="frames") == [6, 46, 86]


def test_a_picture_that_stands_still_is_on_show_until_the_next(sample):
    slides = uneven([0.0, 6.0, 6.1], 8.0)
    assert sample(slides, name="fps") == [0, 0, 0, 0, 0, 0, 2, 2]
    assert sample(slides, 2.0, 5.0, name="uniform", frames=2) == [0, 0]
    assert sample(slides, 6.0, 6.1, name="uniform", frames=1) == [1]


def test_segments_draw_one_frame_of_each_part_in_training_only(sample):
    drawn = [sample(info(80), name="segments", frames=8, training=True, seed=seed) for seed in range(200)]
    for part in range(8):
        assert {indices[part] for indices in drawn} == set(range(10 * part, 10 * part + 10))
    assert sample(info(80), name="segments", frames=8) == [10 * part + 5 for part in range(8)]
    assert drawn[3] == sample(info(80), name="segments", frames=8, training=True, seed=3)
    assert sample(info(2), name="segments", frames=4, training=True) == [0, 0, 1, 1]
    drawn = [sample(RED_THEN_BLUE, name="segments", frames=2, training=True, seed=seed) for seed in range(50)]
    assert all(first < 8 <= second for first, second in drawn) and len({tuple(pair) for pair in drawn}) > 20


def test_intervals_count_from_the_start_and_say_what_is_not_seen(registry, sample):
    assert sample(info(100, 10.0), name="interval", every=2.0, offset=1.0) == [10, 30, 50, 70, 90]
    assert sample(info(100, 10.0), 5.0, 7.0, name="interval", every=1.0) == [50, 60]
    assert sample(info(10), name="interval", every=4, unit="frames", offset=1) == [1, 5, 9]
    assert sample(info(10), name="interval", every=4, unit="frames", offset=99) == [0]
    sampler = registry.build("sampler", {"name": "interval", "every": 0.5}, frames=4)
    assert sampler.note(info(100, 10.0), None, None) == ("20 frames, one every 0.5 seconds, cut to the first 4")
    assert sample(info(100, 10.0), name="interval", every=0.5, frames=4) == [0, 5, 10, 15]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"name": "uniform", "frames": 0}, "media.frames is 0"),
        ({"name": "fps", "fps": 0.0}, "media.sampler.fps is 0.0"),
        ({"name": "fps", "fps": float("inf")}, "media.sampler.fps is inf"),
        ({"name": "interval", "every": -1.0}, "media.sampler.every is -1.0"),
        ({"name": "interval", "unit": "hours"}, "'hours'; it can be seconds, frames"),
        ({"name": "interval", "offset": -1.0}, "media.sampler.offset is -1.0"),
        ({"name": "interval", "every": 1.5, "unit": "frames"}, "both are whole"),
    ],
)
def test_impossible_parameters_are_refused(sample, config, words):
    with pytest.raises(ConfigError, match=words):
        sample(info(300), **config)


@st.composite
def videos(draw) -> VideoInfo:
    begin = draw(st.sampled_from([0.0, 0.04, 1.5]))
    if draw(st.booleans()):
        return info(
            draw(st.integers(1, 3000)), draw(st.sampled_from([1.0, 10.0, 24000 / 1001, 25.0, 60000 / 1001])), begin
        )
    steps = draw(st.lists(st.sampled_from([0.01, 0.033, 0.5, 7.0]), min_size=1, max_size=60))
    times = (begin + np.cumsum([0.0, *steps])).tolist()
    return uneven(times[:-1], times[-1])


@settings(max_examples=150, deadline=None)
@given(
    video=videos(),
    frames=st.integers(1, 40),
    config=st.sampled_from(SAMPLERS),
    training=st.booleans(),
    bounds=st.tuples(st.floats(0, 0.9), st.floats(0.01, 1)),
)
def test_frames_are_ascending_few_enough_and_on_show_inside_the_bounds(
    registry, video, frames, config, training, bounds
):
    sampler = registry.build("sampler", config, frames=frames)
    start = video.time(0) + bounds[0] * video.seconds
    end = start + bounds[1] * video.seconds
    indices = sampler.indices(video, start, end, training=training, generator=np.random.default_rng(0))
    assert all(isinstance(index, int) for index in indices) and indices == sorted(indices)
    assert len(indices) == frames if config["name"] in ("uniform", "segments") else 1 <= len(indices) <= frames
    assert indices[0] >= 0 and indices[-1] < video.frames
    assert indices[0] >= frame_at(video, start)
    assert video.time(indices[-1]) < end or indices[-1] == frame_at(video, start)
    sampler.note(video, start, end)


@settings(max_examples=60, deadline=None)
@given(clip=st.integers(2, 400), fps=st.sampled_from([2.0, 23.976, 25.0, 59.94]), frames=st.integers(1, 16))
def test_a_constant_rate_told_by_its_times_gives_the_same_moments(registry, clip, fps, frames):
    """By number or by time, a frame is chosen that is at most one apart."""
    told = VideoInfo(clip, fps, 8, 8, False, 0.0, tuple(k / fps for k in range(clip)), clip / fps)
    for config in ({"name": "uniform"}, {"name": "fps", "fps": 1.3}, {"name": "interval", "every": 0.9}):
        sampler = registry.build("sampler", config, frames=frames)
        one, other = (
            sampler.indices(video, None, None, training=False, generator=np.random.default_rng(0))
            for video in (info(clip, fps), told)
        )
        assert len(one) == len(other) and max(abs(a - b) for a, b in zip(one, other, strict=True)) <= 1
    assert all(after > before for before, after in pairwise(told.times))


def test_every_sampler_keeps_to_the_seconds_where_the_rate_varies(registry):
    """Whoever wrote it: a frame of seconds 0 to 4 is shown in them."""
    samplers = [row.component for row in registry.rows("sampler")]
    assert len(samplers) > 6
    for component in samplers:
        sampler = registry.build("sampler", {"name": component.name}, frames=4)
        for (start, end), training in product(((0, 4), (4, 8), (1.2, 3.1), (3.8, 4.2)), (False, True)):
            found = sampler.indices(RED_THEN_BLUE, start, end, training=training, generator=np.random.default_rng(0))
            first, last = frame_at(RED_THEN_BLUE, start), frame_at(RED_THEN_BLUE, end - 1e-3)
            assert all(first <= index <= last for index in found), (component.name, start, end, found)
