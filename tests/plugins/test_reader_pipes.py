"""Files that were written to something that cannot seek: their headers have placeholders in place of sizes."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from helpers.clips import picture, tone

from vlframe import MediaError
from vlframe.media.file_kind import media_kind

RATE = 16000
FILMS = [
    ("avi", "mpeg4", None),
    ("avi", "mpeg4", "pcm_s16le"),
    ("avi", "mjpeg", "libmp3lame"),
    ("matroska", "mpeg4", "aac"),
    ("webm", "libvpx-vp9", "libopus"),
    ("flv", "flv1", "libmp3lame"),
    ("mp4", "mpeg4", "aac"),
    ("mov", "mpeg4", "pcm_s16le"),
    ("mxf", "mpeg2video", None),
]
SOUNDS = [
    ("wav", "pcm_s16le", {}),
    ("wav", "adpcm_ms", {}),
    ("wav", "pcm_s16le", {"rf64": "always"}),
    ("w64", "pcm_s16le", {}),
    ("w64", "pcm_f32le", {}),
    ("aiff", "pcm_s16be", {}),
    ("aiff", "pcm_s24be", {}),
    ("aiff", "pcm_f32be", {}),
    ("aiff", "pcm_mulaw", {}),
    ("au", "pcm_s16be", {}),
    ("caf", "pcm_s16be", {}),
    ("flac", "flac", {}),
    ("ogg", "flac", {}),
    ("ogg", "libopus", {}),
    ("matroska", "flac", {}),
]


class Pipe:
    """A file object that can only be written to, from the beginning to the end."""

    def __init__(self) -> None:
        self.content = bytearray()

    def write(self, data: bytes) -> int:
        self.content += data
        return len(data)


@pytest.fixture(scope="module")
def reader(registry):
    return registry.build("reader", {"name": "pyav"})


def write(target: str | Pipe, kind: str, video: str | None, audio: str | None, options: dict[str, str]) -> None:
    """Write 25 pictures and a second of sound."""
    with av.open(target, "w", format=kind, options=options) as container:
        rate = {"libopus": 48000, "libmp3lame": 44100}.get(audio or "", RATE)
        sounds = [container.add_stream(audio, rate=rate, layout="stereo")] if audio else []
        if video:
            stream = container.add_stream(video, rate=25)
            stream.width, stream.height = 64, 48
            stream.pix_fmt = "yuvj420p" if video == "mjpeg" else "yuv420p"
            stream.codec_context.thread_count = 1
            for index in range(25):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(index, 48, 64), format="rgb24")))
            container.mux(stream.encode())
        for stream in sounds:
            frame = av.AudioFrame.from_ndarray(tone(1.0, rate), format="s16", layout="stereo")
            frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
            resampler = av.AudioResampler(stream.format, "stereo", rate, frame_size=stream.frame_size or 1024)
            for piece in resampler.resample(frame) + resampler.resample(None):
                container.mux(stream.encode(piece))
            container.mux(stream.encode())


def both(folder: Path, kind: str, video: str | None, audio: str | None, options: dict[str, str]) -> tuple[Path, Path]:
    """Return a file, and the same one written to a pipe."""
    whole, piped, pipe = folder / "whole", folder / "piped", Pipe()
    write(str(whole), kind, video, audio, options)
    write(pipe, kind, video, audio, options)
    piped.write_bytes(pipe.content)
    return whole, piped


@pytest.mark.parametrize(("kind", "video", "audio"), FILMS)
def test_a_film_from_a_pipe_is_the_film(reader, tmp_path, kind, video, audio):
    options = {"movflags": "frag_keyframe+empty_moov"} if kind in ("mp4", "mov") else {}
    whole, piped = both(tmp_path, kind, video, audio, options)
    assert media_kind(piped) == "video"
    assert reader.info(piped) == reader.info(whole)
    assert reader.info(piped).frames == 25
    np.testing.assert_array_equal(reader.frames(piped, range(25)), reader.frames(whole, range(25)))
    if audio:
        heard = [reader.audio(path, RATE, None, None) for path in (whole, piped)]
        np.testing.assert_array_equal(*heard)


@pytest.mark.parametrize(("kind", "codec", "options"), SOUNDS)
def test_a_sound_from_a_pipe_is_the_sound(reader, tmp_path, kind, codec, options):
    whole, piped = both(tmp_path, kind, None, codec, options)
    assert whole.read_bytes() != piped.read_bytes()
    assert media_kind(piped) == "audio"
    heard = [reader.audio(path, RATE, None, None) for path in (whole, piped)]
    assert len(heard[0]) >= RATE - 1
    np.testing.assert_array_equal(*heard)
    np.testing.assert_array_equal(reader.audio(piped, RATE, 0.3, 0.6), reader.audio(whole, RATE, 0.3, 0.6))


@pytest.mark.parametrize("audio", [None, "pcm_s16le"])
def test_an_avi_from_a_pipe_that_is_cut_inside_a_picture_is_refused(reader, tmp_path, audio):
    _, piped = both(tmp_path, "avi", "mpeg4", audio, {})
    content = piped.read_bytes()
    chunk = b"01dc" if audio else b"00dc"
    at = content.index(chunk)
    for _ in range(12):
        at = content.index(chunk, at + 4)
    for cut in (at + 9, at + 40):
        piped.write_bytes(content[:cut])
        with pytest.raises(MediaError, match="piped"):
            reader.info(piped)


def test_an_avi_from_a_pipe_with_dropped_frames_ends_after_its_last_one(reader, tmp_path):
    pipe, path = Pipe(), tmp_path / "a.avi"
    with av.open(pipe, "w", format="avi") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        stream.codec_context.time_base = Fraction(1, 25)
        for place in (0, 1, 2, 6, 7):
            frame = av.VideoFrame.from_ndarray(picture(place, 48, 64), format="rgb24")
            frame.pts, frame.time_base = place, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    path.write_bytes(pipe.content)
    info = reader.info(path)
    assert info.times == pytest.approx([0, 0.04, 0.08, 0.24, 0.28])
    assert info.seconds == pytest.approx(0.32)


def test_decord_is_kept_from_an_avi_that_would_end_its_process(registry, tmp_path):
    pytest.importorskip("decord")
    decord = registry.build("reader", {"name": "decord"})
    whole, piped = both(tmp_path, "avi", "mpeg4", None, {})
    assert decord.frames(whole, [3]).shape == (1, 48, 64, 3)
    with pytest.raises(MediaError, match="does not state its number of frames"):
        decord.frames(piped, [3])


def test_sox_leaves_another_placeholder_in_an_aiff(reader, tmp_path):
    whole, piped = both(tmp_path, "aiff", None, "pcm_s16be", {})
    content = bytearray(piped.read_bytes())
    at = content.index(b"SSND")
    content[4:8] = (0x7F000000 + at).to_bytes(4, "big")
    content[at + 4 : at + 8] = (0x7F000000 + 8).to_bytes(4, "big")
    piped.write_bytes(content)
    np.testing.assert_array_equal(reader.audio(piped, RATE, None, None), reader.audio(whole, RATE, None, None))


@pytest.mark.parametrize(("kind", "codec"), [("aiff", "pcm_s16be"), ("w64", "pcm_s16le")])
def test_sizes_that_are_stated_are_believed(reader, tmp_path, kind, codec):
    whole, _ = both(tmp_path, kind, None, codec, {})
    content = whole.read_bytes()
    for share in (0.3, 0.99):
        whole.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(MediaError, match="it is truncated"):
            reader.audio(whole, RATE, None, None)
    whole.write_bytes(content + content)
    with pytest.raises(MediaError, match="several files one after the other"):
        reader.audio(whole, RATE, None, None)


@pytest.mark.parametrize("between", [b"", b"LIST\x04\0\0\0INFO"])
def test_a_wav_with_two_chunks_of_samples_is_not_read_to_the_first(reader, tmp_path, between):
    whole, _ = both(tmp_path, "wav", None, "pcm_s16le", {})
    content = whole.read_bytes()
    at = content.index(b"data")
    more = content[:at] + content[at:] + between + content[at:]
    whole.write_bytes(more[:4] + (len(more) - 8).to_bytes(4, "little") + more[8:])
    with pytest.raises(MediaError, match=r"its samples are in 2 chunks .* write it again"):
        reader.audio(whole, RATE, None, None)


OPEN = [("matroska", "mpeg4", "aac"), ("webm", "libvpx-vp9", "libopus"), ("flv", "flv1", "libmp3lame")]


@pytest.mark.parametrize(("kind", "video", "audio"), OPEN)
@pytest.mark.parametrize("less", [30, 400])
def test_an_open_film_that_is_cut_inside_a_block_is_refused(reader, tmp_path, kind, video, audio, less):
    _, piped = both(tmp_path, kind, video, audio, {})
    piped.write_bytes(piped.read_bytes()[:-less])
    for read in (lambda: reader.info(piped), lambda: reader.audio(piped, RATE, None, None)):
        with pytest.raises(MediaError, match=r"it is truncated: it has \d+ of at least \d+ bytes"):
            read()


@pytest.mark.parametrize(("kind", "video", "audio"), OPEN)
def test_open_films_one_after_the_other_are_named(reader, tmp_path, kind, video, audio):
    _, piped = both(tmp_path, kind, video, audio, {})
    piped.write_bytes(piped.read_bytes() * 2)
    with pytest.raises(MediaError, match="it is several files one after the other"):
        reader.info(piped)


@pytest.mark.parametrize("behind", [b"\0" * 100, b"appended"])
def test_an_flv_without_its_last_number_or_with_bytes_behind_it_is_whole(reader, tmp_path, behind):
    whole, _ = both(tmp_path, "flv", "flv1", "libmp3lame", {})
    content, frames = whole.read_bytes(), reader.info(whole).frames
    for changed in (content[:-4], content + behind):
        whole.write_bytes(changed)
        assert reader.info(whole).frames == frames == 25


@pytest.mark.parametrize("kind", [{}, {"mpegts_m2ts_mode": "1"}])
@pytest.mark.parametrize(
    ("video", "audio"), [("mpeg2video", "mp2"), (None, "mp2"), (None, "aac"), ("mpeg2video", None)]
)
def test_transport_streams_that_were_joined_are_not_called_damaged(reader, tmp_path, kind, video, audio):
    whole, _ = both(tmp_path, "mpegts", video, audio, kind)
    content = whole.read_bytes()
    reads = {video: lambda: reader.info(whole).frames, audio: lambda: reader.audio(whole, RATE, None, None).size}
    for read in (reads[codec] for codec in reads if codec):
        assert read() > 0
    whole.write_bytes(content * 3)
    for read in (reads[codec] for codec in reads if codec):
        with pytest.raises(
            MediaError, match=rf"3 transport streams .* near byte \d+ of {3 * len(content)}\) .*-f concat"
        ):
            read()


@pytest.mark.parametrize("behind", [1, 100, 70_000])
def test_an_open_matroska_with_zeros_behind_it_is_whole(reader, tmp_path, behind):
    whole, piped = both(tmp_path, "matroska", "mpeg4", "aac", {})
    content = piped.read_bytes()
    piped.write_bytes(content + b"\0" * behind)
    np.testing.assert_array_equal(reader.frames(piped, range(25)), reader.frames(whole, range(25)))
    np.testing.assert_array_equal(*(reader.audio(path, RATE, None, None) for path in (whole, piped)))
    middle = len(content) // 2
    piped.write_bytes(content[:middle] + b"\0" * (len(content) - middle))  # it was not fetched to its end
    with pytest.raises(MediaError, match="damaged"):
        reader.info(piped)


def test_an_mp4_whose_last_box_has_no_size_is_whole_and_refused_when_it_is_cut(reader, tmp_path):
    """Its samples stand in a box up to the end of the file, and its index before them."""
    whole = tmp_path / "whole.mp4"
    write(str(whole), "mp4", "mpeg4", "aac", {"movflags": "faststart"})
    content = bytearray(whole.read_bytes())
    at = content.rfind(b"mdat") - 4
    assert at + int.from_bytes(content[at : at + 4], "big") == len(content)
    content[at : at + 4] = bytes(4)
    whole.write_bytes(content)
    assert reader.info(whole).frames == 25 and reader.audio(whole, RATE, None, None).size
    whole.write_bytes(content[:-200])
    for read in (lambda: reader.info(whole), lambda: reader.audio(whole, RATE, None, None)):
        with pytest.raises(MediaError, match=rf"truncated: it has {len(content) - 200} of at least \d+ bytes"):
            read()


def test_an_av1_stream_is_no_picture(reader, tmp_path):
    path = tmp_path / "stream"
    write(str(path), "obu", "libsvtav1", None, {})
    assert path.read_bytes()[:3] == b"\x12\0\x0a"
    assert media_kind(path) == "video" and reader.info(path).frames == 25


def test_a_transport_stream_that_has_lost_packets_is_damaged(reader, tmp_path):
    whole, _ = both(tmp_path, "mpegts", "mpeg2video", None, {})
    content = whole.read_bytes()
    middle = len(content) // 376 * 188
    whole.write_bytes(content[:middle] + content[middle + 5 * 188 :])
    with pytest.raises(MediaError, match="it is damaged: its video has a hole"):
        reader.info(whole)
