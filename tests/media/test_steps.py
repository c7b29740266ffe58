"""Clips are filled to whole time steps of the encoder, whatever the sampler, before anything is decoded."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlframe import Media, SquarePixels, Timeline, VideoInfo
from vlframe.config.schema import MediaConfig
from vlframe.errors import PluginError
from vlframe.media.loader import MediaLoader
from vlframe.media.steps import filled
from vlframe.registry.registry import Registry

PIXELS = SquarePixels(size=8, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
REGISTRY = Registry.installed()
CLIP = Path(__file__)  # any file: the reader below does not open it


class Greys:
    """A clip of ``count`` frames, 10 a second, each of one grey."""

    def __init__(self, count: int) -> None:
        self.count = count

    def info(self, path):
        return VideoInfo(frames=self.count, fps=10.0, height=6, width=8, has_audio=False)

    def frames(self, path, indices):
        return np.stack([np.full((6, 8, 3), index, np.uint8) for index in indices])


def loader(count: int, sampler, *, frames: int, step: int, training: bool = False, processor=None) -> MediaLoader:
    given = {"training": training, "processor": processor, "frames_per_step": step}
    return MediaLoader(Greys(count), MediaConfig(frames=frames, timeout=None), {"video": PIXELS}, sampler, **given)


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(sorted(REGISTRY.names("sampler"))),
    count=st.integers(1, 60),
    step=st.integers(1, 4),
    steps=st.integers(1, 4),
    training=st.booleans(),
)
def test_every_sampler_gives_whole_steps_and_no_more_than_media_frames(name, count, step, steps, training) -> None:
    frames = step * steps
    sampler = REGISTRY.build("sampler", {"name": name}, frames=frames)
    chosen = sampler.indices(Greys(count).info(CLIP), None, None, training=training, generator=np.random.default_rng(0))
    made = loader(count, sampler, frames=frames, step=step, training=training)
    timeline = made.timeline(Media("video", CLIP))
    assert len(timeline.frames) % step == 0 and len(timeline.frames) <= frames
    last = len(timeline.frames) - len(chosen)
    assert 0 <= last < step and list(timeline.frames) == [*chosen, *chosen[-1:] * last]
    assert timeline.seconds == tuple(frame / 10 for frame in timeline.frames)
    assert (f"filled to {len(timeline.frames)} with the last one" in timeline.note) == (last > 0)
    loaded = made.decode(timeline)
    assert tuple(loaded.tensor.shape) == timeline.shape
    assert loaded.tensor[:, 0, 0, 0].tolist() == list(timeline.frames)


class TooMany:
    def __init__(self, given: int) -> None:
        self.given = given

    def indices(self, info, start, end, *, training, generator):
        return list(range(self.given))

    def note(self, info, start, end):
        return ""


@pytest.mark.parametrize("given", [0, 5])
def test_a_sampler_that_gives_none_or_too_many_is_named(given: int) -> None:
    with pytest.raises(PluginError, match=rf"TooMany gives {given} frames of a clip, and media.frames is 4; .* 1 to 4"):
        loader(9, TooMany(given), frames=4, step=1).timeline(Media("video", CLIP))


class Chooses:
    """A processor that chooses the frames itself."""

    def timeline(self, media, source):
        layout = source.front_end.layout(6, 8, 3)
        return Timeline(media, (1, 2, 4), (0.1, 0.2, 0.4), 6, 8, layout, shape=(3, 3, 8, 8), note="own")

    def read(self, timeline, source):
        return None

    def repeatable(self, media):
        return True


def test_the_frames_of_a_processor_are_filled() -> None:
    made = loader(9, TooMany(1), frames=4, step=2, processor=Chooses())
    timeline = made.timeline(Media("video", CLIP))
    assert (timeline.frames, timeline.seconds, timeline.shape) == ((1, 2, 4, 4), (0.1, 0.2, 0.4, 0.4), (4, 3, 8, 8))
    assert timeline.note == "own; 3 frames, filled to 4 with the last one: the encoder takes pairs"
    assert made.decode(timeline).tensor[:, 0, 0, 0].tolist() == [1, 2, 4, 4]


def test_images_and_what_is_known_only_on_reading_stay_as_they_are() -> None:
    for timeline in (
        Timeline(Media("image", CLIP), shape=(1, 3, 8, 8)),
        Timeline(Media("audio", CLIP)),
        Timeline(Media("video", CLIP)),
    ):
        assert filled(timeline, 2) is timeline


class Fixed:
    """A sampler that gives what it was made with."""

    def __init__(self, given) -> None:
        self.given = given

    def indices(self, info, start, end, *, training, generator):
        return self.given

    def note(self, info, start, end):
        return ""


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([0, 10], "frame 10 of a clip of 10 frames; it must give whole numbers from 0 to 9"),
        ([-1, 3], "frame -1"),
        ([0.0, 4.5], "frame 0.0"),
        (np.linspace(0, 9, 4), "of a clip of 10 frames"),
        (["1"], "frame '1'"),
        ([None], "frame None"),
        ([3, 1, 2], r"gives frames \[3, 1, 2\]; it must give them in ascending order"),
        ([], "gives 0 frames"),
    ],
)
def test_a_sampler_that_gives_what_is_no_frame_is_at_fault_and_not_the_file(given, words: str) -> None:
    """A MediaError would quarantine every sample, and say that its file cannot be read."""
    with pytest.raises(PluginError, match=words):
        loader(10, Fixed(given), frames=4, step=1).timeline(Media("video", CLIP))


@pytest.mark.parametrize("given", [np.array([0, 3, 9]), (0, 3, 9), [np.int32(0), np.int64(3), 9], range(0, 10, 3)])
def test_whole_numbers_of_any_type_are_frames(given) -> None:
    timeline = loader(10, Fixed(given), frames=4, step=1).timeline(Media("video", CLIP))
    assert timeline.frames == tuple(int(item) for item in given) and {*map(type, timeline.frames)} == {int}
