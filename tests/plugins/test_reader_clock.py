"""One clock for a file: seconds from where its pictures or its sound begin, whichever is first.

Films are written whose frame k is a grey that tells k, and whose sound has a click at every quarter of a second.
"""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vlframe import MediaError, NoAudioTrack, frame_at, frame_range

RATE = 8000
UNEVEN = (0.0, 0.04, 0.08, 0.6, 0.64, 1.9, 1.94)  # a hole of half a second, and one of more than a second


@pytest.fixture(scope="module")
def reader(registry):
    return registry.build("reader", {"name": "pyav"})


def clicks(seconds: float, rate: int = RATE) -> np.ndarray:
    """int16 ``sound_1L``: a quiet 1, and 20,000 at each quarter of a second."""
    sound_1L = np.ones((1, round(seconds * rate)), np.int16)
    sound_1L[0, :: rate // 4] = 20_000
    return sound_1L


def write(path: Path, times, sound=(), *, video="libx264", audio="pcm_s16le", last: float = 0.04) -> Path:
    """``times`` are those of the frames, ``sound`` the pieces of the track as (begin, seconds)."""
    with av.open(str(path), "w") as container:
        pictures = container.add_stream(video, rate=25, options={"g": "12", "bf": "0"})
        pictures.height, pictures.width, pictures.pix_fmt = 32, 32, "yuv420p"
        pictures.time_base = pictures.codec_context.time_base = Fraction(1, 90_000)
        track = container.add_stream(audio, rate=RATE, layout="mono") if sound else None
        for index, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 16 + 4 * (index % 56), np.uint8), format="rgb24")
            frame.pts, frame.time_base = round(time * 90_000), Fraction(1, 90_000)
            frame.duration = round(last * 90_000)
            container.mux(pictures.encode(frame))
        container.mux(pictures.encode())
        for begin, seconds in sound:
            frame = av.AudioFrame.from_ndarray(clicks(seconds), format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, round(begin * RATE), Fraction(1, RATE)
            container.mux(track.encode(frame))
        if track:
            container.mux(track.encode())
    return path


def greys(frames_TYXC: np.ndarray) -> list[int]:
    """Which frames these are."""
    return [round((float(frame.mean()) - 16) / 4) for frame in frames_TYXC]


def sounding(waveform_L: np.ndarray) -> tuple[float, float]:
    """The seconds of the first and the last sample that is no silence."""
    heard = np.flatnonzero(waveform_L)
    return heard[0] / RATE, (heard[-1] + 1) / RATE


def click_times(waveform_L: np.ndarray) -> list[float]:
    return (np.flatnonzero(waveform_L > 0.5) / RATE).tolist()


@pytest.mark.parametrize("suffix", ["mkv", "mov"])
@pytest.mark.parametrize(
    ("pictures_at", "sound_at", "seconds"),
    [(0.0, 0.0, 2.0), (0.0, 0.5, 1.0), (0.5, 0.0, 2.0), (0.0, 0.0, 0.5), (0.25, 1.0, 3.0), (1.5, 0.0, 1.0)],
)
def test_pictures_and_sound_of_a_span_are_those_of_the_same_seconds(
    reader, tmp_path, suffix, pictures_at, sound_at, seconds
):
    times = [pictures_at + k / 25 for k in range(50)]
    path = write(tmp_path / f"film.{suffix}", times, [(sound_at, seconds)])
    zero = min(pictures_at, sound_at)
    late, begins, ends = pictures_at - zero, sound_at - zero, sound_at - zero + seconds
    info = reader.info(path)
    assert (info.frames, info.fps, info.times) == (50, 25.0, None)
    assert info.begin == pytest.approx(late, abs=0.002)
    assert greys(reader.frames(path, [frame_at(info, late + 0.42), frame_at(info, late + 1.99)])) == [10, 49]
    whole_L = reader.audio(path, RATE, None, None)
    assert len(whole_L) == pytest.approx(ends * RATE, abs=16)
    assert sounding(whole_L) == pytest.approx((begins, ends), abs=0.002)
    assert click_times(whole_L) == pytest.approx([begins + k / 4 for k in range(int(seconds * 4))], abs=0.002)
    film_ends = max(late + 2.0, ends)
    for start, end in (
        (0.0, 0.3),
        (0.2, 0.7),
        (begins, ends),
        (late, late + 0.1),
        (ends - 0.1, film_ends),
        (0.0, 99.0),
    ):
        first, stop = round(start * RATE), round(min(end, film_ends) * RATE)
        if end <= begins + 1e-3 or start >= ends - 1e-3:
            with pytest.raises(NoAudioTrack, match=r"no sound between .* its sound track (begins at|lasts from)"):
                reader.audio(path, RATE, start, end)
            continue
        part_L = reader.audio(path, RATE, start, end)
        assert len(part_L) == pytest.approx(stop - first, abs=16)
        expected_L = np.pad(whole_L, (0, max(0, first + len(part_L) - len(whole_L))))[first : first + len(part_L)]
        np.testing.assert_array_equal(part_L, expected_L)


def test_a_span_without_sound_is_told_from_one_that_is_not_in_the_file(reader, tmp_path):
    path = write(tmp_path / "film.mkv", [k / 25 for k in range(75)], [(1.0, 1.0)])
    with pytest.raises(NoAudioTrack, match=r"no sound between start=0\.0 and end=0\.9; its .* begins at 1\.000 s$"):
        reader.audio(path, RATE, 0.0, 0.9)
    for start, end in ((2.1, 2.9), (2.1, None), (2.5, 50.0)):
        with pytest.raises(NoAudioTrack, match=r"its sound track lasts from 1\.000 to 2\.000 s"):
            reader.audio(path, RATE, start, end)
    for start, end in ((3.1, None), (4.0, 5.0)):
        with pytest.raises(MediaError, match=r"it ends at 3\.0") as caught:
            reader.audio(path, RATE, start, end)
        assert not isinstance(caught.value, NoAudioTrack)


@pytest.mark.parametrize("audio", ["aac", "pcm_s16le"])
def test_the_place_where_decoding_stopped_is_not_given_as_the_end(reader, tmp_path, audio):
    """Three seconds of sound; only as much is decoded as is asked for."""
    path = write(tmp_path / "film.mkv", [k / 25 for k in range(100)], [(1.0, 1.0), (2.0, 2.0)], audio=audio)
    with pytest.raises(NoAudioTrack, match=r"its sound track begins at 1\.0\d\d s$"):
        reader.audio(path, RATE, 0.2, 0.5)


def test_a_late_sound_of_both_containers_sounds_at_the_same_seconds(reader, tmp_path):
    """Matroska says how much an encoder put before the first sample; FFmpeg's MP4 of a late sound does not."""
    heard = [
        reader.audio(write(tmp_path / name, [k / 25 for k in range(75)], [(0.5, 1.5)], audio="aac"), RATE, 0.0, 2.0)
        for name in ("a.mp4", "a.mkv", "a.mov")
    ]
    times = [click_times(one_L) for one_L in heard]
    assert len(times[0]) == 6
    np.testing.assert_allclose(times[0], times[1], atol=0.002)
    np.testing.assert_allclose(times[0], times[2], atol=0.002)


@pytest.mark.parametrize(("bounds", "words"), [((None, None), ""), ((0.5, None), r" with start=0\.5")])
def test_a_sound_file_without_a_sample_says_so(reader, tmp_path, bounds, words):
    path = tmp_path / "a.wav"
    with av.open(str(path), "w") as container:
        container.add_stream("pcm_s16le", rate=RATE, layout="mono")
        container.start_encoding()
    with pytest.raises(MediaError, match=rf"a\.wav: no sound{words}; its sound track holds no sample$"):
        reader.audio(path, RATE, *bounds)


def test_a_film_whose_sound_has_no_decoder_is_seen(reader, tmp_path):
    path = write(tmp_path / "film.mkv", [k / 25 for k in range(20)], [(0.0, 0.5)], audio="aac")
    content = path.read_bytes()
    assert content.count(b"A_AAC") == 1
    path.write_bytes(content.replace(b"A_AAC", b"A_XYZ"))
    assert reader.info(path).frames == 20 and greys(reader.frames(path, [7])) == [7]
    with pytest.raises(MediaError, match="there is no decoder for its sound"):
        reader.audio(path, RATE, None, None)


def test_a_hole_in_the_sound_is_silence_as_long_as_it_is(reader, tmp_path):
    path = write(tmp_path / "film.mkv", [k / 25 for k in range(75)], [(0.0, 0.5), (2.0, 0.5)])
    whole_L = reader.audio(path, RATE, None, None)
    assert click_times(whole_L) == pytest.approx([0.0, 0.25, 2.0, 2.25], abs=0.002)
    assert not whole_L[round(0.51 * RATE) : round(1.99 * RATE)].any()
    assert not reader.audio(path, RATE, 1.0, 1.5).any()  # inside the track: silence is what it says


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov"])
def test_frames_of_a_varying_rate_are_found_by_their_times(reader, tmp_path, suffix):
    path = write(tmp_path / f"film.{suffix}", UNEVEN)
    info = reader.info(path)
    assert info.times == pytest.approx(UNEVEN, abs=0.0006) and info.begin == 0.0
    assert info.time(3) == pytest.approx(0.6, abs=0.0006)
    if suffix != "mkv":  # which does not say how long its last frame is shown
        assert (info.end, info.seconds) == pytest.approx((1.98, 1.98), abs=0.001)
    for second, index in ((0.0, 0), (0.05, 1), (0.3, 2), (0.59, 2), (0.61, 3), (1.8, 4), (1.95, 6), (9.0, 6)):
        assert frame_at(info, second) == index
        assert greys(reader.frames(path, [frame_at(info, second)])) == [index]
    assert frame_range(info, 0.1, 0.5) == (2, 3) and frame_range(info, 0.62, 1.91) == (3, 6)


def test_pictures_of_a_varying_rate_behind_their_sound(reader, tmp_path):
    path = write(tmp_path / "film.mkv", [0.5 + time for time in UNEVEN], [(0.0, 1.0)])
    info = reader.info(path)
    assert info.times == pytest.approx([0.5 + time for time in UNEVEN], abs=0.0006)
    assert info.begin == info.times[0]


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    steps=st.lists(st.sampled_from([0.01, 0.02, 0.04, 0.1, 0.7]), min_size=0, max_size=25),
    begins=st.tuples(st.sampled_from([0.0, 0.2]), st.sampled_from([0.0, 0.1])),
    suffix=st.sampled_from(["mp4", "mkv", "mov"]),
)
def test_every_second_shows_the_frame_that_was_written_for_it(reader, tmp_path, steps, begins, suffix):
    times = begins[0] + np.cumsum([0.0, *steps])
    audio = "aac" if suffix == "mp4" else "pcm_s16le"
    path = write(tmp_path / f"film.{suffix}", times, [(begins[1], 0.5)], audio=audio)
    info, zero = reader.info(path), min(times[0], begins[1])
    if suffix == "mp4":  # AAC has samples before its first one
        zero = times[0] - info.time(0)
        assert zero == pytest.approx(min(times[0], begins[1]), abs=0.15)
    for time, follows in zip(times, [*times[1:], times[-1] + 0.01], strict=True):
        middle = (time + follows) / 2 - zero
        index = frame_at(info, middle)
        if times[-1] - times[0] < 0.05 * (len(times) - 1):  # constant to a tenth of a frame, or told
            assert abs(index - list(times).index(time)) <= 1
        else:
            assert index == list(times).index(time)


@pytest.mark.parametrize(
    ("rate", "name"), [((24000, 1001), "23.976"), ((60000, 1001), "59.94"), ((30000, 1001), "29.97")]
)
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi", "ts", "flv"])
def test_rates_of_television_are_constant(reader, tmp_path, rate, name, suffix):
    path = tmp_path / f"{name}.{suffix}"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4" if suffix == "avi" else "libx264", rate=Fraction(*rate))
        stream.height, stream.width, stream.pix_fmt = 32, 32, "yuv420p"
        for index in range(90):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), index, np.uint8), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(rate[1], rate[0])
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    info = reader.info(path)
    assert info.frames == 90 and info.times is None and info.begin == 0.0
    assert info.fps == pytest.approx(rate[0] / rate[1], rel=1e-3)
    assert info.seconds == pytest.approx(90 * rate[1] / rate[0], rel=1e-3)


def test_a_picture_that_empty_packets_repeat_stays_on_show(registry):
    """Theora writes them where nothing changes: two pictures, shown from 0 to 0.8 and from 0.8 to 2 s."""
    path = Path(__file__).parent / "inputs" / "held.ogv"
    for name in ("pyav", "auto"):
        read = registry.build("reader", {"name": name})
        info = read.info(path)
        assert (info.times, info.end) == ((0.0, 0.8), 2.0)
        dark, light = read.frames(path, [0, 1]).mean((1, 2, 3))
        assert dark < 40 and light > 130
    assert [frame_at(info, second) for second in (0.1, 0.7, 0.9, 1.9)] == [0, 0, 1, 1]


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi"])
def test_a_clip_of_one_frame(reader, tmp_path, suffix):
    path = tmp_path / f"one.{suffix}"
    codec = {"avi": ("mpeg4", "yuv420p")}.get(suffix, ("libx264", "yuv420p"))
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec[0], rate=25)
        stream.height, stream.width, stream.pix_fmt = 32, 32, codec[1]
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode())
    info = reader.info(path)
    assert info.frames == 1 and info.seconds > 0 and info.begin == 0.0 and info.times is None
    assert frame_at(info, 0.0) == frame_at(info, 7.0) == 0


def test_what_an_edit_list_hides_has_no_time(reader, tmp_path):
    """A film cut at 0.5 s without encoding keeps what decoding needs; its clock begins at the cut."""
    source = write(tmp_path / "film.mp4", [k / 25 for k in range(50)], [(0.0, 2.0)], audio="aac")
    path = tmp_path / "cut.mp4"
    with av.open(str(source)) as film, av.open(str(path), "w") as target:
        streams = {stream.index: target.add_stream_from_template(stream) for stream in film.streams}
        for packet in film.demux():
            if packet.dts is not None:
                shift = int(0.5 / packet.time_base)
                packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                packet.stream = streams[packet.stream_index]
                target.mux(packet)
    info = reader.info(path)
    assert info.time(0) == pytest.approx(0.0, abs=0.04)
    index = frame_at(info, 0.5)
    (grey,) = greys(reader.frames(path, [index]))
    assert abs(grey - 25) <= 1
    whole_L, cut_L = reader.audio(source, RATE, 1.0, 1.4), reader.audio(path, RATE, 0.5, 0.9)
    shifts = [float(np.dot(whole_L[400:2800], cut_L[400 + by : 2800 + by])) for by in range(-400, 401)]
    assert abs(int(np.argmax(shifts)) - 400) <= 8  # a thousandth of a second


def test_a_gif_has_the_times_that_it_says(reader, tmp_path):
    from PIL import Image

    pictures = [Image.fromarray(np.full((16, 16, 3), grey, np.uint8)) for grey in (0, 120, 240)]
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=[100, 900, 500])
    info = reader.info(tmp_path / "a.gif")
    assert info.times == pytest.approx((0.0, 0.1, 1.0)) and info.end == pytest.approx(1.5)


GAPS = (0, 1, 2, 3, 10, 11, 12, 40, 41, 49)


def write_dropping(path: Path, codec: str = "mjpeg", at: tuple[int, ...] = GAPS, **options: str) -> Path:
    """Frames at these places of 25 a second; an AVI gets empty chunks between them."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.height, stream.width = 32, 32
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for index, place in enumerate(at):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 16 + 20 * (index % 11), np.uint8), format="rgb24")
            frame.pts, frame.time_base = place, Fraction(1, 25)
            container.mux(stream.encode(frame.reformat(format=stream.pix_fmt)))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.avi", "mjpeg"), ("a.avi", "mpeg4"), ("a.mp4", "mpeg4"), ("a.mkv", "mpeg4"), ("a.ts", "mpeg2video"),
     ("a.flv", "flv"), ("a.webm", "libvpx-vp9")],
)  # fmt: skip
def test_dropped_frames_leave_the_others_at_their_times(reader, tmp_path, name, codec):
    path = write_dropping(tmp_path / name, codec)
    info = reader.info(path)
    assert info.times == pytest.approx([place / 25 for place in GAPS], abs=0.002) and info.frames == len(GAPS)
    for place, index in ((3, 3), (9, 3), (10, 4), (39, 6), (45, 8), (49, 9)):
        assert frame_at(info, place / 25 + 0.01) == index
        assert round((reader.frames(path, [index]).mean() - 16) / 20) == index


def test_an_avi_with_dropped_frames_and_no_index(reader, tmp_path):
    path = write_dropping(tmp_path / "a.avi", "mpeg4")
    content = bytearray(path.read_bytes())
    content = content[: content.rindex(b"idx1")]
    content[4:8] = bytes(4)
    path.write_bytes(content)
    assert reader.info(path).times == pytest.approx([place / 25 for place in GAPS])
    for share in (0.5, 0.9):
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(MediaError, match=r"a\.avi: (it is damaged: its head says 50 frames|cannot be decoded)"):
            reader.info(path)


def test_an_avi_that_lacks_chunks_is_damaged(reader, tmp_path):
    path = write_dropping(tmp_path / "a.avi", at=tuple(range(20)))
    assert reader.info(path).times is None
    content = bytearray(path.read_bytes())
    begin, last = content.index(b"movi"), content.rindex(b"idx1")
    at = content.index(b"00dc", content.index(b"00dc", begin) + 4)
    content[at : at + 4] = b"JUNK"
    for place in range(last, len(content) - 4):
        if content[place : place + 4] == b"00dc" and int.from_bytes(content[place + 8 : place + 12], "little") == (
            at - begin
        ):
            content[place : place + 4] = b"JUNK"
    path.write_bytes(content)
    with pytest.raises(MediaError, match=r"its head says 20 frames, and it holds 19"):
        reader.info(path)


def test_dropped_frames_among_reordered_ones_are_named(reader, tmp_path):
    path = write_dropping(tmp_path / "a.avi", "mpeg4", bf="2")
    with pytest.raises(MediaError, match="dropped frames among pictures that are stored in another order"):
        reader.info(path)
    assert reader.info(write_dropping(tmp_path / "b.avi", "mpeg4", tuple(range(20)), bf="2")).times is None


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "mov"])
def test_a_cover_in_a_track_before_the_film_is_not_the_film(reader, tmp_path, suffix):
    path = two_tracks(tmp_path / f"a.{suffix}", "mjpeg", "yuvj420p", 1)
    info = reader.info(path)
    assert (info.frames, info.width, info.height) == (10, 64, 48)
    assert reader.frames(path, [0, 9]).shape == (2, 48, 64, 3)


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_a_film_of_pictures_before_another_film_is_the_first(reader, tmp_path, suffix):
    info = reader.info(two_tracks(tmp_path / f"a.{suffix}", "mjpeg", "yuvj420p", 10))
    assert (info.frames, info.width, info.height) == (10, 32, 32)


def two_tracks(path: Path, codec: str, pixels: str, pictures: int) -> Path:
    """Write a track of 32x32 ``pictures``, then one of ten of 64x48, without a word of which is which."""
    with av.open(str(path), "w") as container:
        streams = []
        for name, (width, height), layout in ((codec, (32, 32), pixels), ("libx264", (64, 48), "yuv420p")):
            stream = container.add_stream(name, rate=25)
            stream.width, stream.height, stream.pix_fmt = width, height, layout
            streams.append(stream)
        for stream, count in zip(streams, (pictures, 10), strict=True):
            for index in range(count):
                grey = np.full((stream.height, stream.width, 3), 20 * index, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
            container.mux(stream.encode())
    return path
