"""Decoding in a process that can be killed: the same media, and a file that hangs or crashes costs only itself."""

import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.clips import ClipSpec, write_clip
from helpers.loading import media_loader
from PIL import Image

from vlframe import ConfigError, Media, MediaError, NoAudioTrack, SquarePixels
from vlframe.composer.compose import open_registry
from vlframe.media.pipe import send
from vlframe.media.process import ReaderProcess

BAD_READER = Path(__file__).parent.parent / "helpers" / "bad_reader.py"
SECONDS = 2.0
PIXELS = SquarePixels(size=16, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


class Whole:
    """An audio spec whose features are the waveform in columns of four samples."""

    sampling_rate = 8000
    seconds = 1.0

    def features(self, waveform_L: torch.Tensor) -> torch.Tensor:
        return waveform_L[: len(waveform_L) // 4 * 4].reshape(-1, 4)


@pytest.fixture(scope="module")
def misbehaving():
    return open_registry([str(BAD_READER)], strict=True).build("reader", {"name": "misbehaving"})


@pytest.fixture
def guard(misbehaving):
    process = ReaderProcess(misbehaving, SECONDS, "misbehaving")
    yield process
    process.close()


@pytest.fixture
def file(tmp_path):
    def write(name: str, content: bytes = b"12345") -> Path:
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    return write


def grey(guard: ReaderProcess, path: Path) -> int:
    return int(guard.frames(path, [0])[0, 0, 0, 0])


def test_media_are_bit_equal_with_and_without_the_process(registry, tmp_path) -> None:
    clip = write_clip(tmp_path, ClipSpec("a clip für uns.mp4", sound="aac"))
    silent = write_clip(tmp_path, ClipSpec("silent.mkv"))
    image = tmp_path / "image.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8)).save(image)
    for name in ("auto", "decord", "pyav"):
        reader = registry.build("reader", {"name": name})
        config = {"frames": 4, "missing_audio": "silence"}
        here = media_loader(reader, PIXELS, Whole(), **config)
        there = media_loader(reader, PIXELS, Whole(), **config, timeout=60)
        assert isinstance(there.reader, ReaderProcess) and here.reader is reader
        assert there.reader.info(clip) == reader.info(clip)
        assert np.array_equal(there.reader.frames(clip, [39, 0, 7]), reader.frames(clip, [39, 0, 7]))
        assert np.array_equal(there.reader.audio(clip, 44100, 0.1, None), reader.audio(clip, 44100, 0.1, None))
        for media in (
            Media("video", clip), Media("video", silent, start=0.2, end=0.9), Media("image", image),
            Media("audio", clip), Media("audio", silent, track=True),
        ):  # fmt: skip
            ours, theirs = here.load(media).tensor, there.load(media).tensor
            assert ours.dtype == theirs.dtype and torch.equal(ours, theirs)
        for media in (Media("video", image), Media("image", clip), Media("audio", image)):
            with pytest.raises(MediaError) as one:
                here.load(media)
            with pytest.raises(MediaError) as other:
                there.load(media)
            assert str(one.value) == str(other.value) and type(one.value) is type(other.value)
            assert (other.value.path, other.value.reader) == (str(media.path), one.value.reader)
            assert other.value.reader == ("PIL" if media.kind == "image" else type(reader).__name__)
        there.reader.close()


def test_a_file_that_hangs_is_killed_and_the_next_is_read(guard, file) -> None:
    assert grey(guard, file("good")) == 5
    before = guard._child.process
    started = time.monotonic()
    with pytest.raises(MediaError, match=r"hang: took longer than 2 s in the misbehaving reader \(media.timeout\)"):
        guard.frames(file("hang"), [0])
    assert SECONDS <= time.monotonic() - started < 10 * SECONDS
    assert before.returncode == -signal.SIGKILL
    assert grey(guard, file("good", b"123")) == 3


@pytest.mark.parametrize(("name", "how"), [("abort", "signal 6, SIGABRT"), ("exit", "exit code 3")])
def test_a_decoder_that_crashes_costs_its_file(guard, file, name, how) -> None:
    with pytest.raises(MediaError, match=rf"{name}: the decoder crashed \({how}\) in the misbehaving reader"):
        guard.frames(file(name), [0])
    assert grey(guard, file("good")) == 5


def test_the_limit_is_for_a_file_and_not_for_a_call(guard, file) -> None:
    slow = file("slow")
    for _ in range(6):  # 0.4 s each
        guard.frames(slow, [0])
    with pytest.raises(MediaError, match="took longer than 2 s"), guard.one_file():
        for _ in range(9):
            guard.frames(slow, [0])


def test_a_fault_of_the_reader_is_no_bad_file(guard, file) -> None:
    with pytest.raises(RuntimeError, match="KeyError: 'a fault of the reader'") as caught:
        guard.frames(file("raise"), [0])
    assert not isinstance(caught.value, MediaError)
    assert grey(guard, file("good")) == 5


def test_what_a_library_prints_is_no_answer(guard, file) -> None:
    assert grey(guard, file("talk")) == 5
    assert guard.info(file("good")).frames == 4
    with pytest.raises(NoAudioTrack):
        guard.audio(file("good"), 8000, None, None)


def test_a_name_that_is_no_text(guard, tmp_path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe name"))
    path.write_bytes(b"1234567")
    assert grey(guard, path) == 7


def test_an_interrupted_answer_is_not_taken_for_the_next(guard, file, monkeypatch) -> None:
    def interrupted(*_):
        raise KeyboardInterrupt

    guard.frames(file("good"), [0])
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("vlframe.media.process.receive", interrupted)
        guard.frames(file("good"), [0])
    assert grey(guard, file("good", b"1234")) == 4


def test_a_fork_and_a_pickle_have_processes_of_their_own(guard, file) -> None:
    good = file("good")
    guard.frames(good, [0])
    mine = guard._child.process.pid
    copy = pickle.loads(pickle.dumps(guard))
    assert grey(copy, good) == 5 and copy._child.process.pid != mine
    copy.close()
    read, write = os.pipe()
    fork = os.fork()
    if fork == 0:
        try:
            value = grey(guard, good)
            other = guard._child.process.pid != mine
            guard.close()
            os.write(write, bytes([value, other]))
        finally:
            os._exit(0)
    os.waitpid(fork, 0)
    assert os.read(read, 2) == bytes([5, 1])
    assert grey(guard, good) == 5 and guard._child.process.pid == mine


ORPHANS = """
import sys, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import bad_reader
from vlframe.media.process import ReaderProcess
guard = ReaderProcess(bad_reader.Misbehaving(), 1.0, "misbehaving")
guard.frames(Path(sys.argv[2]), [0])
print(guard._child.process.pid, flush=True)
time.sleep(60)
"""


def test_nobody_is_left_behind(guard, file) -> None:
    """A killed run takes its process along; one that hangs by then ends by itself."""
    command = [sys.executable, "-c", ORPHANS, str(BAD_READER.parent), str(file("good"))]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    until = time.monotonic() + 10
    while Path(f"/proc/{child}/cmdline").exists() and Path(f"/proc/{child}/cmdline").read_bytes():
        assert time.monotonic() < until, "the process outlives its run"
        time.sleep(0.05)
    hanging = guard._ready().process
    question = {"call": "frames", "path": str(file("hang")), "arguments": {"indices": [0]}, "seconds": -9}
    send(guard._child.questions, question)  # ten seconds more than that
    assert hanging.wait(20) == -signal.SIGALRM


def test_what_cannot_be_moved_is_explained() -> None:
    class Local:
        pass

    with pytest.raises(ConfigError, match=r"local cannot: .*media.timeout=null"):
        ReaderProcess(Local(), 1.0, "local").info(Path("x"))
