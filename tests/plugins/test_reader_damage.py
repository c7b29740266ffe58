"""Damaged files, each read in a process that can be killed: a refusal or whole frames, and never the end of a run.

The large version is ``experiments/reliability/fuzz.py``.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from helpers.clips import ClipSpec, picture, write_clip, write_sound
from helpers.runs import training
from PIL import Image

from vlframe import MediaError
from vlframe.composer.compose import compose, open_registry
from vlframe.media.process import ReaderProcess
from vlframe.training.run import train

os.environ.setdefault("SVT_LOG", "1")
READERS = ("auto", "decord", "pyav")
GOP = {"g": "12"}
CLIPS = [
    ClipSpec("h264 für.mp4", sound="aac", frames=16),
    ClipSpec("h264.ts", frames=16),
    ClipSpec("mpeg4.avi", "mpeg4", frames=16),
    ClipSpec("vp9.webm", "libvpx-vp9", frames=16),
    ClipSpec("av1.mp4", "libsvtav1", height=64, frames=16, options={"preset": "10"}),
    ClipSpec("anim.gif", "gif", frames=8, fps=10, pixel_format="rgb8", options={}),
]
STATED = (".mp4", ".mkv", ".avi")  # these say how many frames they have


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("damage")
    for spec in CLIPS:
        write_clip(path, spec)
    return path


@pytest.fixture(scope="module", params=READERS)
def reader(request, registry):
    process = ReaderProcess(registry.build("reader", {"name": request.param}), 30, request.param)
    yield process
    process.close()


@pytest.fixture(scope="module")
def pyav(registry):
    return registry.build("reader", {"name": "pyav"})


def flipped(content: bytes, bits: int, seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    changed = np.frombuffer(content, np.uint8).copy()
    end = content.find(b"moov") if b"moov" in content else len(content)  # the index of an MP4 has no checksum
    for at in rng.integers(end // 8, end, bits):
        changed[at] ^= 1 << int(rng.integers(8))
    return changed.tobytes()


def damaged(content: bytes) -> Iterator[tuple[str, bytes]]:
    size = len(content)
    yield from (("cut", content[: int(size * share)]) for share in (0.1, 0.5, 0.9))
    yield from (("flipped", flipped(content, bits, bits)) for bits in (1, 3, 10, 100))
    yield "zeros", content[: size // 3] + bytes(size // 10) + content[size // 3 + size // 10 :]
    yield "head", b"RIFF" + content[4:]
    yield "halves", content[size // 2 :] + content[: size // 2]
    yield "empty", b""


def whole(reader, path: Path) -> np.ndarray:
    return reader.frames(path, range(reader.info(path).frames))


def outcome(reader, path: Path, good: np.ndarray) -> str:
    try:
        found = whole(reader, path)
    except MediaError as error:
        assert str(path) in str(error)
        assert "took longer" not in str(error)
        return "refused"
    return "same" if np.array_equal(found, good) else "count" if found.shape != good.shape else "different"


def test_damaged_clips_are_refused_or_whole(reader, folder, tmp_path) -> None:
    results: Counter[tuple[str, str]] = Counter()
    for spec in CLIPS:
        content = (folder / spec.name).read_bytes()
        try:
            good = whole(reader, folder / spec.name)
        except MediaError as error:
            assert reader.name == "decord" and "does not read this exactly" in str(error)
            continue
        for number, (kind, bad) in enumerate(damaged(content)):
            path = tmp_path / f"{number} {kind} {spec.name}"
            path.write_bytes(bad)
            result = outcome(reader, path, good)
            results[kind, result] += 1
            if path.suffix in STATED or kind == "empty":
                assert result != "count", path.name
            if kind in ("cut", "empty") and path.suffix != ".ts":
                assert result == "refused", path.name
    assert sum(results.values()) >= 3 * 11
    refused = sum(count for (_, result), count in results.items() if result == "refused")
    assert refused > sum(results.values()) / 2, results


@pytest.mark.parametrize(
    ("spec", "read"),
    [
        (ClipSpec("hash.mp4", "libx265", frames=16, options={"x265-params": "log-level=none:hash=1"}), "frames"),
        (ClipSpec("av1.mp4", "libsvtav1", height=64, frames=16, options={"preset": "10"}), "frames"),
        (("a.flac", "flac"), "sound"),
        (("a.ogg", "libopus"), "sound"),
    ],
    ids=lambda value: getattr(value, "name", value[0] if isinstance(value, tuple) else ""),
)
def test_formats_with_checksums_pass_nothing_wrong_on(pyav, tmp_path, spec, read) -> None:
    path = write_clip(tmp_path, spec) if read == "frames" else write_sound(tmp_path / spec[0], spec[1], 0.5, 48000)
    take = (lambda: whole(pyav, path)) if read == "frames" else (lambda: pyav.audio(path, 16000, None, None))
    content, good = path.read_bytes(), take()
    refused = 0
    for seed in range(12):
        path.write_bytes(flipped(content, (1, 3, 10)[seed % 3], seed))
        try:
            np.testing.assert_array_equal(take(), good)
        except MediaError:
            refused += 1
    assert refused >= 6


def test_what_h264_conceals_is_refused(reader, tmp_path) -> None:
    """A repaired picture looks like any other; without a look at the decoder's errors one in two came through."""
    path = write_clip(tmp_path, ClipSpec("h264.mp4"))
    good, content, results = whole(reader, path), path.read_bytes(), Counter()
    for seed in range(24):
        path.write_bytes(flipped(content, 10, seed))
        results[outcome(reader, path, good)] += 1
    assert results["refused"] >= 20 and results["count"] == 0, results


def test_a_gif_whose_pictures_cannot_be_unpacked(pyav, folder, tmp_path) -> None:
    """FFmpeg only writes a line about it; the same line about the next file must not be missed."""
    content = bytearray((folder / "anim.gif").read_bytes())
    content[len(content) // 2 : len(content) // 2 + 300] = b"\xff" * 300
    for name in ("one.gif", "two.gif"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(MediaError, match=rf"{name}: it is damaged: LZW decode failed \(gif\)"):
            whole(pyav, tmp_path / name)
    assert len(whole(pyav, folder / "anim.gif")) == 8


def test_a_clip_with_a_hole(pyav, tmp_path) -> None:
    """Ten packets of a transport stream are lost, and frames of an AVI."""
    stream = write_clip(tmp_path, ClipSpec("hole.ts"))
    content = stream.read_bytes()
    stream.write_bytes(content[: 188 * 30] + content[188 * 40 :])
    with pytest.raises(MediaError, match=r"hole\.ts: .*(it is damaged: its video has a hole|Invalid data)"):
        whole(pyav, stream)
    film = write_clip(tmp_path, ClipSpec("hole.avi", "mjpeg", pixel_format="yuvj420p"))
    content = bytearray(film.read_bytes())
    index = content.rfind(b"idx1")
    entries = int.from_bytes(content[index + 4 : index + 8], "little") // 16
    for entry in range(10, 20):  # in another stream's name
        at = index + 8 + entry * 16
        chunk = content.find(b"00dc", entry * 100)
        content[at : at + 2], content[chunk : chunk + 2] = b"07", b"07"
    assert entries == 40
    film.write_bytes(content)
    with pytest.raises(MediaError, match=r"its head says 40 frames, and it holds [23]\d"):
        whole(pyav, film)


def test_a_clip_that_changes_its_size(pyav, tmp_path) -> None:
    one, two = (
        write_clip(tmp_path, ClipSpec(f"{width}.h264", width=width, options=GOP)).read_bytes() for width in (64, 96)
    )
    (tmp_path / "both.h264").write_bytes(one + two)
    with pytest.raises(MediaError, match=r"both\.h264: frame 40 is 96x48, and the first one 64x48"):
        whole(pyav, tmp_path / "both.h264")


def test_a_stream_that_begins_half_way(tmp_path) -> None:
    from vlframe_readers.container import reading

    path = write_clip(tmp_path, ClipSpec("late.ts", frames=4))
    with pytest.raises(MediaError, match=r"late\.ts: .*a stream begins in the middle"), reading(path):
        raise IndexError("list index out of range")  # what PyAV says to it


@pytest.mark.parametrize(
    ("name", "codec"), [("a.ogg", "libopus"), ("a.aiff", "pcm_s16be"), ("a.mp3", "libmp3lame"), ("a.ivf", "libvpx-vp9")]
)
def test_files_that_state_their_size_are_known_to_be_truncated(pyav, tmp_path, name, codec) -> None:
    if name.endswith("ivf"):
        path = write_clip(tmp_path, ClipSpec(name, codec, frames=8))
        read = lambda: whole(pyav, path)  # noqa: E731
    else:
        path = write_sound(tmp_path / name, codec, 0.5, 48000)
        read = lambda: pyav.audio(path, 16000, None, None)  # noqa: E731
    content, good = path.read_bytes(), read()
    for share in (0.3, 0.6, 0.99):
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(MediaError, match="it is truncated: it has"):
            read()
    if name != "a.ivf":
        path.write_bytes(content + b"TAG" + b"a title of the nineties".ljust(125))  # as old players write it
        np.testing.assert_array_equal(read(), good)


def test_containers_without_a_frame(reader, tmp_path) -> None:
    for name in ("none.mp4", "none.mkv", "none.avi"):
        with av.open(str(tmp_path / name), "w") as container:
            stream = container.add_stream("mpeg4", rate=25)
            stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
            container.start_encoding()
        with pytest.raises(MediaError, match=f"{name}: "):
            whole(reader, tmp_path / name)


def test_a_run_on_damaged_files_lists_every_refusal(folder, tmp_path) -> None:
    """Real training: what is refused is in quarantine.jsonl with path, hash, reason and reader."""
    names = []
    for spec in CLIPS[:3]:
        for number, (kind, bad) in enumerate(damaged((folder / spec.name).read_bytes())):
            names.append(f"{number} {kind} 短片 {spec.name}")
            (tmp_path / names[-1]).write_bytes(bad)
    (tmp_path / "a folder.mp4").mkdir()
    (tmp_path / "a link.mp4").symlink_to(tmp_path / "nowhere.mp4")
    Image.fromarray(picture(0, 48, 64)).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:-100])
    names += ["a folder.mp4", "a link.mp4", "cut.png"]
    rows = []
    for name in names:
        kind = "image" if name.endswith("png") else "video"
        turns = [{"from": "human", "value": f"<{kind}>\nwhat?"}, {"from": "gpt", "value": "a word"}]
        rows.append({"id": name, kind: name, "conversations": turns})
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    registry = open_registry()
    words = training(
        tmp_path / "rows.json", "media.on_error=skip", "media.max_bad_share=null", "media.timeout=30",
        f"runs={tmp_path / 'runs'}", "stages.main.steps=9", "stages.main.batch_size=4",
    )  # fmt: skip
    run = train(compose("train", words, registry), registry)
    left_out = {row["id"]: row for row in map(json.loads, run.quarantine.read_text().splitlines())}
    assert {"a folder.mp4", "a link.mp4", "cut.png"} < set(left_out) and len(left_out) >= 18
    surely = {name for name in names if " empty " in name or (" cut " in name and not name.endswith(".ts"))}
    assert surely <= set(left_out)
    for name, row in left_out.items():
        path = tmp_path / name
        assert (row["path"], row["why"]) == (str(path), "media") and str(path) in row["reason"]
        assert row["reader"] == ("PIL" if name == "cut.png" else "auto")
        assert row["sha256"] == (hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None)
