"""What writers leave that is no damage: sizes they did not know, bytes after the end, a missing mark at the end."""

import struct
from pathlib import Path

import av
import numpy as np
import pytest
from helpers.clips import ClipSpec, picture, write_clip, write_sound
from PIL import Image

from vlframe import MediaError
from vlframe.media.file_kind import media_kind

ID3V1 = b"TAG" + b"a title of the nineties".ljust(125, b"\0")
APE = b"APETAGEX" + struct.pack("<4I", 2000, 32, 0, 0) + bytes(8)
APPENDED = {
    "zeros": bytes(1000),
    "text": b"written by a camera of the year 2012; abcdefghijklmnopqrstuvwxyz" * 4,
    "letters": b"abcdefghijklmnopqrstuvwxyz" * 20,
    "a picture": b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(range(256)),
    "a tag": ID3V1,
}


@pytest.fixture(scope="module")
def reader(registry):
    return registry.build("reader", {"name": "pyav"})


def sound(reader, path: Path) -> np.ndarray:
    return reader.audio(path, 16000, None, None)


def film(reader, path: Path) -> np.ndarray:
    return reader.frames(path, range(reader.info(path).frames))


# Sizes that were not known


@pytest.mark.parametrize("riff", [0, 0xFFFFFFFF, 0x7FFFF024, 0x80000024, 0x7FFFFFFF])
@pytest.mark.parametrize("data", [0, 0xFFFFFFFF, 0x7FFFF000, 0x80000000, 0x7FFFFFFF - 36])
@pytest.mark.parametrize("codec", ["pcm_s16le", "pcm_f32le"])
def test_a_wav_that_was_written_to_a_pipe(reader, tmp_path, riff, data, codec):
    path = write_sound(tmp_path / "a.wav", codec, 0.6, 16000)
    good, content = sound(reader, path), bytearray(path.read_bytes())
    at = content.index(b"data") + 4
    struct.pack_into("<I", content, 4, riff)
    struct.pack_into("<I", content, at, data)
    path.write_bytes(content)
    np.testing.assert_array_equal(sound(reader, path), good)


@pytest.mark.parametrize("more", [1, 8, 44, 4096])
def test_a_wav_whose_head_counts_more_than_there_is_has_all_its_samples(reader, tmp_path, more):
    """Some writers state the size of the file, not of what follows the first eight bytes."""
    path = write_sound(tmp_path / "a.wav", "pcm_s16le", 0.6, 16000)
    good, content = sound(reader, path), bytearray(path.read_bytes())
    struct.pack_into("<I", content, 4, len(content) - 8 + more)
    path.write_bytes(content)
    np.testing.assert_array_equal(sound(reader, path), good)
    path.write_bytes(content[:-2])
    with pytest.raises(MediaError, match="it is truncated"):
        sound(reader, path)


def test_a_wav_that_knows_its_length_is_refused_when_it_is_cut(reader, tmp_path):
    path = write_sound(tmp_path / "a.wav", "pcm_s16le", 0.6, 16000)
    content = path.read_bytes()
    for share in (0.2, 0.7, 0.99):
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(MediaError, match="it is truncated"):
            sound(reader, path)


def test_a_wav_of_the_broadcasters(reader, tmp_path):
    """RF64: the size stands in a chunk of its own."""
    path = tmp_path / "a.wav"
    with av.open(str(path), "w", options={"rf64": "always"}) as container:
        stream = container.add_stream("pcm_s16le", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.arange(8000, dtype=np.int16)[None], format="s16", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
    assert path.read_bytes()[:4] == b"RF64"
    np.testing.assert_array_equal(sound(reader, path), np.arange(8000, dtype=np.float32) / 32768)
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(MediaError, match="it is truncated"):
        sound(reader, path)


@pytest.mark.parametrize(("name", "codec", "at"), [("a.au", "pcm_s16be", 8), ("a.caf", "pcm_s16be", None)])
def test_other_plain_samples_of_unknown_length(reader, tmp_path, name, codec, at):
    path = write_sound(tmp_path / name, codec, 0.6, 16000)
    good, content = sound(reader, path), bytearray(path.read_bytes())
    if at is None:
        struct.pack_into(">q", content, content.index(b"data") + 4, -1)
    else:
        struct.pack_into(">I", content, at, 0xFFFFFFFF)
    path.write_bytes(content)
    np.testing.assert_array_equal(sound(reader, path)[: len(good)], good)


@pytest.mark.parametrize("codec", ["mpeg4", "mjpeg"])
def test_an_avi_of_a_recorder_that_was_switched_off(reader, tmp_path, codec):
    path = write_clip(tmp_path, ClipSpec("a.avi", codec, pixel_format="yuvj420p" if codec == "mjpeg" else "yuv420p"))
    good, content = film(reader, path), bytearray(path.read_bytes())
    content = content[: content.rindex(b"idx1")]
    struct.pack_into("<I", content, 4, 0)
    path.write_bytes(content)
    np.testing.assert_array_equal(film(reader, path), good)


def test_a_matroska_that_was_streamed(reader, tmp_path):
    path = write_clip(tmp_path, ClipSpec("a.mkv"))
    good, content = film(reader, path), bytearray(path.read_bytes())
    at = content.index(b"\x18\x53\x80\x67") + 4
    assert content[at] == 1  # a size of eight bytes
    content[at + 1 : at + 8] = b"\xff" * 7
    path.write_bytes(content[: content.rindex(b"\x1c\x53\xbb\x6b")])  # and no index at the end
    np.testing.assert_array_equal(film(reader, path), good)


def test_an_mp4_that_was_not_finished_is_named(reader, tmp_path):
    path = write_clip(tmp_path, ClipSpec("a.mp4"))
    content = bytearray(path.read_bytes())
    at = content.index(b"moov") - 4
    path.write_bytes(content[:at])
    with pytest.raises(MediaError, match=r"its index \(moov\) is missing: what wrote it did not finish"):
        reader.info(path)


# Bytes after the end


@pytest.mark.parametrize("what", APPENDED)
@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "a.avi", "a.gif", "a.webp", "a.png"])
def test_films_that_were_appended_to(reader, tmp_path, name, what):
    path = tmp_path / name
    if name in ("a.webp", "a.png"):
        first, *rest = (Image.fromarray(picture(index, 48, 64)) for index in range(4))
        first.save(path, save_all=True, append_images=rest, duration=100)
    elif name == "a.gif":
        write_clip(tmp_path, ClipSpec(name, "gif", frames=6, fps=10, pixel_format="rgb8", options={}))
    else:
        write_clip(tmp_path, ClipSpec(name, "mpeg4" if name == "a.avi" else "libx264"))
    good = film(reader, path)
    path.write_bytes(path.read_bytes() + APPENDED[what])
    np.testing.assert_array_equal(film(reader, path), good)


@pytest.mark.parametrize("what", ["a tag", "an APE tag", "zeros"])
@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp3", "libmp3lame"), ("a.flac", "flac"), ("a.ogg", "libopus"), ("a.wav", "pcm_s16le"), ("a.aiff", "pcm_s16be"),
     ("a.aac", "aac"), ("a.wv", "wavpack")],
)  # fmt: skip
def test_sounds_that_were_appended_to(reader, tmp_path, name, codec, what):
    path = write_sound(tmp_path / name, codec, 0.5, 48000)
    good = sound(reader, path)
    path.write_bytes(path.read_bytes() + {"a tag": ID3V1, "an APE tag": APE, "zeros": bytes(500)}[what])
    found = sound(reader, path)
    np.testing.assert_array_equal(found[: len(good)], good)
    assert len(found) - len(good) < 1700  # a decoder may make a last frame of them


def test_a_motion_photo_is_a_photo(reader, tmp_path):
    """A phone's: a JPEG with a film behind it."""
    path = tmp_path / "IMG_0001.MP.jpg"
    Image.fromarray(picture(0, 48, 64)).save(path)
    path.write_bytes(path.read_bytes() + write_clip(tmp_path, ClipSpec("a.mp4", frames=3)).read_bytes())
    assert media_kind(path) == "image"
    with pytest.raises(MediaError, match="a still image"):
        reader.info(path)


# A missing mark at the end


def test_an_ogg_whose_last_page_does_not_say_so(reader, tmp_path):
    """A ripper of streams stops between two pages."""
    path = write_sound(tmp_path / "a.ogg", "libopus", 5.0, 48000)
    good, content = sound(reader, path), path.read_bytes()
    last = content.rindex(b"OggS")
    path.write_bytes(content[:last])
    found = sound(reader, path)
    assert 2.5 * 16000 < len(found) < len(good)
    np.testing.assert_array_equal(found[:-2000], good[: len(found) - 2000])
    for length in (last + 3, last + 30, last - 1):
        path.write_bytes(content[:length])
        with pytest.raises(MediaError, match="it is truncated"):
            sound(reader, path)


def test_a_gif_without_its_semicolon(reader, tmp_path):
    path = write_clip(tmp_path, ClipSpec("a.gif", "gif", frames=6, fps=10, pixel_format="rgb8", options={}))
    good, content = film(reader, path), path.read_bytes()
    assert content.endswith(b";")
    path.write_bytes(content[:-1])
    np.testing.assert_array_equal(film(reader, path), good)
    for cut in (2, 5, 40, len(content) // 2):
        path.write_bytes(content[:-cut])
        with pytest.raises(MediaError, match="it is truncated"):
            film(reader, path)


# The formats that are opened since


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mxf", "mpeg2video"), ("a.y4m", "wrapped_avframe"), ("a.rm", "rv20"), ("a.caf", "pcm_s16be"),
     ("a.au", "pcm_s16be"), ("a.wv", "wavpack")],
)  # fmt: skip
def test_what_states_its_size_is_refused_when_it_is_cut(reader, tmp_path, name, codec):
    if name in ("a.mxf", "a.y4m", "a.rm"):
        size = {"height": 96, "width": 128} if name == "a.rm" else {}
        path, read = write_clip(tmp_path, ClipSpec(name, codec, **size)), film
    else:
        path, read = write_sound(tmp_path / name, codec, 0.5, 48000), sound
    content, good = path.read_bytes(), read(reader, path)
    assert len(good)
    for share in (0.3, 0.6, 0.95):
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(MediaError, match="it is truncated"):
            read(reader, path)


def test_an_mp3_with_a_cover_is_sound(reader, tmp_path):
    path = tmp_path / "a.mp3"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libmp3lame", rate=44100, layout="stereo")
        cover = container.add_stream("mjpeg", rate=1)
        cover.height, cover.width, cover.pix_fmt = 48, 64, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        container.mux(cover.encode(av.VideoFrame.from_ndarray(picture(0, 48, 64), format="rgb24")))
        container.mux(cover.encode())
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 2 * 22050), np.int16), format="s16", layout="stereo")
        frame.sample_rate = 44100
        resampler = av.AudioResampler(stream.format, "stereo", 44100, frame_size=1152)
        for piece in resampler.resample(frame) + resampler.resample(None):
            container.mux(stream.encode(piece))
        container.mux(stream.encode())
    assert media_kind(path) == "audio"
    assert len(sound(reader, path)) == pytest.approx(8000, abs=1000)
    with pytest.raises(MediaError, match="it has no video stream"):
        reader.info(path)


# Several files, one after the other (cat)

READ_WHOLE = [
    ("a.mp3", "libmp3lame"), ("a.mp2", "mp2"), ("a.flac", "flac"), ("a.ogg", "libopus"), ("a.aac", "aac"),
    ("a.ac3", "ac3"), ("v.avi", "mpeg4"),
    ("v.mpg", "mpeg2video"), ("v.mxf", "mpeg2video"), ("v.gif", "gif"), ("v.h264", "libx264"),
]  # fmt: skip
NAMED = [
    ("a.wav", "pcm_s16le"), ("a.w64", "pcm_s16le"), ("a.aiff", "pcm_s16be"), ("a.au", "pcm_s16be"),
    ("a.caf", "pcm_s16be"), ("a.m4a", "aac"), ("a.wv", "wavpack"), ("a.tta", "tta"), ("v.mp4", "libx264"),
    ("v.mov", "libx264"), ("v.flv", "libx264"), ("v.wmv", "wmv2"), ("v.y4m", "wrapped_avframe"),
    ("v.ivf", "libvpx-vp9"), ("a.mka", "flac"), ("v.mkv", "libx264"), ("v.webm", "libvpx-vp9"),
]  # fmt: skip


def written(folder: Path, name: str, codec: str) -> Path:
    if name.startswith("a"):
        return write_sound(folder / name, codec, 1.0, 48000)
    plain = {"pixel_format": "rgb8", "options": {}} if codec == "gif" else {}
    return write_clip(folder, ClipSpec(name, codec, frames=16, **plain))


@pytest.mark.parametrize(("name", "codec"), READ_WHOLE)
def test_files_of_frames_one_after_the_other_are_read_whole(reader, tmp_path, name, codec):
    path = written(tmp_path, name, codec)
    read = sound if name.startswith("a") else film
    good = read(reader, path)
    path.write_bytes(path.read_bytes() * 3)
    found = read(reader, path)
    assert len(found) == pytest.approx(3 * len(good), abs=3000 if read is sound else 0)  # what encoders put around it
    kept = len(good) - 1500 if read is sound else len(good)
    np.testing.assert_array_equal(found[:kept], good[:kept])


@pytest.mark.parametrize(("name", "codec"), NAMED)
def test_files_of_which_only_the_first_would_be_read_are_named(reader, tmp_path, name, codec):
    path = written(tmp_path, name, codec)
    read = sound if name.startswith("a") else film
    content, good = path.read_bytes(), read(reader, path)
    for between in (b"", ID3V1) if name in ("a.wav", "a.w64", "a.aiff", "a.au", "a.wv", "a.tta") else (b"",):
        path.write_bytes(content + between + content)
        with pytest.raises(MediaError, match=rf"{name}: it is several files .*ffmpeg \(-f concat\)"):
            read(reader, path)
    path.write_bytes(content)
    np.testing.assert_array_equal(read(reader, path), good)


@pytest.mark.parametrize("tags", ["id3v2", "id3v1", "ape", "all"])
def test_tags_between_the_frames_of_an_mp3_are_no_sound(reader, tmp_path, tags):
    """A player's list that was joined to one file; each keeps its tags."""
    path = written(tmp_path, "a.mp3", "libmp3lame")
    content = path.read_bytes()
    assert content[:3] == b"ID3"
    bare = content[10 + int.from_bytes(content[8:10], "big") :]
    plain, marks = bare[400:], {"id3v2": content[: -len(bare)], "id3v1": ID3V1, "ape": APE}  # without the Info frame
    at = plain.index(b"\xff\xfb")
    begin = plain[at:]
    path.write_bytes(begin + begin)
    good = sound(reader, path)
    between = b"".join(marks.values()) if tags == "all" else marks[tags]
    path.write_bytes(begin + between + begin)
    np.testing.assert_array_equal(sound(reader, path), good)


def test_a_stream_of_fragments_with_heads_of_their_own_is_one_film(reader, tmp_path):
    """A recorder of live streams joins pieces; the head of the first holds for all."""
    path = tmp_path / "a.mp4"
    options = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream("libx264", rate=25, options={"g": "12"})
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for index in range(40):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(index, 48, 64), format="rgb24")))
        container.mux(stream.encode())
    content, good = path.read_bytes(), film(reader, path)
    head = content[: content.index(b"moof") - 4]
    second = content.index(b"moof", len(head) + 8) - 4
    path.write_bytes(content[:second] + head + content[second:])
    np.testing.assert_array_equal(film(reader, path), good)
