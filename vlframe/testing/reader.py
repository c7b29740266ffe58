"""Checks of readers. T frames, Y X pixels, C colours, L waveform samples."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from vlframe.contracts.reader import VideoInfo
from vlframe.errors import ConfigError, MediaError, NoAudioTrack, named_line
from vlframe.testing.subject import Subject

FRAMES, FPS, HEIGHT, WIDTH, RATE = 24, 8, 48, 64, 16000
NEAR = 0.005  # seconds by which times may differ: containers round them
UNEVEN = (0, 1, 2, 7, 8, 16, 17)  # when frames are shown, in units of 1 / FPS
SPANS = (  # of sound: rate, start, end, and how long that is in a clip of three seconds
    (RATE, None, None, 3.0),
    (8000, 1.0, 2.0, 1.0),
    (RATE, 2.5, None, 0.5),
    (RATE, 2.5, 9.0, 0.5),
)
SPARSE = [(17, 3, 3, 22), (0,), (FRAMES - 1, 0), tuple(range(1, FRAMES, 5))]


def check_reader(
    component: str | type, params: Mapping[str, Any] | None = None, *, plugins: Sequence[str] = ()
) -> None:
    """Check a reader on small mp4 files written here (H.264, AAC): three seconds of known pictures, with and without a
    tone."""
    subject = Subject("reader", component, params or {}, plugins)
    reader = subject.build()
    arrived = subject.pickles(reader, "the reader")
    with tempfile.TemporaryDirectory(prefix="two words, é ") as folder:  # as people name their folders
        silent, sounding = Path(folder, "silent.mp4"), Path(folder, "sounding.mp4")
        write_clip(silent, sound=False)
        write_clip(sounding, sound=True)
        _check_opens(subject, reader, silent)
        _check_info(subject, reader, silent, has_audio=False)
        _check_info(subject, reader, sounding, has_audio=True)
        _check_frames(subject, reader, sounding)
        _check_arrived(subject, reader, arrived, sounding)
        _check_written_again(subject, reader, Path(folder))
        _check_sound(subject, reader, sounding)
        subject.passed("what a file says of itself, every frame, sparse and repeated ones, and a tone")
        _check_other_rate(subject, reader, Path(folder))
        _check_rotated(subject, reader, Path(folder))
        _check_stereo(subject, reader, Path(folder))
        _check_uneven(subject, reader, Path(folder))
        subject.passed("pictures at uneven times, the first of them late")
        subject.passed("another rate of pictures and sound, a rotated picture, two channels")
        _check_refusals(subject, reader, silent, Path(folder))
        subject.passed("files that are no film, cut off or damaged inside, and frames and sound that are not there")


def _check_opens(subject: Subject, reader: Any, clip: Path) -> None:
    """Check what every reader refuses. ConfigError if it refuses the mp4 too, in a folder of a plain name: then nothing
    else can be tried.
    """
    with tempfile.TemporaryDirectory(prefix="vlframe-") as folder:
        plain = Path(shutil.copy(clip, folder))
        _refuse(subject, "a file that is not there", MediaError, lambda: reader.info(plain.with_name("lost.mp4")))
        try:
            with subject.doing("info() of an mp4", refusals=True):
                reader.info(plain)
        except MediaError as error:
            subject.passed("it pickles, and refuses a file that is not there")
            raise ConfigError(
                f"the kit's clips are mp4 (H.264, AAC) and it refuses them ({error}), so its info(), frames() and "
                "audio() were not tried. If it is for mp4, this is its fault; if it is for a format of its own, test "
                "it on a file of that format: frames() of a few indices against all frames in order, and audio() of a "
                "part of the sound against the whole"
            ) from error


def picture(index: int) -> np.ndarray:
    """Return RGB ``frame_YXC``: a grey that encodes the index, red in the upper left quarter and blue in the
    lower right.
    """
    frame_YXC = np.full((HEIGHT, WIDTH, 3), 20 + index * 9, np.uint8)
    frame_YXC[: HEIGHT // 2, : WIDTH // 2] = (220, 20, 20)
    frame_YXC[HEIGHT // 2 :, WIDTH // 2 :] = (20, 20, 220)
    return frame_YXC


def write_clip(
    path: Path,
    *,
    sound: bool,
    fps: int = FPS,
    rate: int = RATE,
    tones: Sequence[int] = (440,),
    pictures: Sequence[int] = range(FRAMES),
) -> None:
    """Write a clip of these ``pictures``; ``tones`` are those of its channels, in Hz."""
    import av

    layout = "mono" if len(tones) == 1 else "stereo"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=fps, options={"g": "12", "crf": "12"})
        video.height, video.width, video.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        audio = container.add_stream("aac", rate=rate, layout=layout) if sound else None
        for index in pictures:
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture(index), format="rgb24")))
        container.mux(video.encode())
        if audio is not None:
            time_L = np.arange(FRAMES * rate // fps) / rate
            waves = [0.5 * np.sin(2 * np.pi * tone * time_L) for tone in tones]
            frame = av.AudioFrame.from_ndarray(np.stack(waves).astype(np.float32), format="fltp", layout=layout)
            frame.sample_rate = rate
            container.mux(audio.encode(frame))
            container.mux(audio.encode())


def _check_other_rate(subject: Subject, reader: Any, folder: Path) -> None:
    """Check a clip of 25 frames and 44100 samples a second."""
    path = folder / "other" / "sounding.mp4"  # a name that was read before, in another folder
    path.parent.mkdir()
    write_clip(path, sound=True, fps=25, rate=44100)
    _check_info(subject, reader, path, has_audio=True, fps=25)
    with subject.doing("audio() of a sound of 44100 Hz"):
        waveform_L = reader.audio(path, RATE, None, None)
    if abs(_loudest(waveform_L, RATE) - 440) > 5 or abs(len(waveform_L) / RATE - FRAMES / 25) > 0.1:
        subject.fail(
            f"audio at {RATE} Hz of a sound of 44100 Hz gives {len(waveform_L) / RATE:.2f} s, loudest at "
            f"{_loudest(waveform_L, RATE):.0f} Hz; {FRAMES / 25:.2f} s of 440 Hz were written"
        )


def _check_written_again(subject: Subject, reader: Any, folder: Path) -> None:
    """Check that a file that was read, and is another film now, is read anew."""
    path = folder / "again.mp4"
    write_clip(path, sound=False)
    with subject.doing("frames()"):
        reader.frames(path, [0])
    write_clip(path, sound=False, pictures=range(FRAMES)[::-1])
    with subject.doing("frames() of a file that was written again"):
        frames_TYXC = reader.frames(path, [0])
    if np.abs(frames_TYXC[0].astype(int) - picture(FRAMES - 1)).mean() > 6:
        subject.fail(
            "gives what a file held before it was written again; what is kept must be kept for its size and time of "
            "change, too"
        )


def _check_rotated(subject: Subject, reader: Any, folder: Path) -> None:
    """Check a clip that is stored lying and shown upright, as phones write it."""
    import av

    path = folder / "rotated.mp4"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FPS, options={"crf": "12"})
        video.height, video.width, video.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        video.set_display_rotation(90)
        for index in range(4):
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture(index), format="rgb24")))
        container.mux(video.encode())
    try:
        with subject.doing("info() and frames() of a rotated clip", refusals=True):
            info, frames_TYXC = reader.info(path), reader.frames(path, [0, 3])
    except MediaError:  # what cannot be read right may be refused
        subject.left_out("a clip that is rotated by a quarter: it is refused")
        return
    if (info.height, info.width) != (WIDTH, HEIGHT) or frames_TYXC.shape[1:3] != (WIDTH, HEIGHT):
        subject.fail(
            f"info says {info.width}x{info.height} and frames gives {frames_TYXC.shape[2]}x{frames_TYXC.shape[1]} of a "
            f"clip that is stored as {WIDTH}x{HEIGHT} and shown rotated by a quarter; pictures are upright"
        )
    difference = np.abs(frames_TYXC[0].astype(int) - np.rot90(picture(0))).mean()
    if difference > 6:
        subject.fail(f"frame 0 of a rotated clip is not the upright picture, off by {difference:.1f}")


def _check_stereo(subject: Subject, reader: Any, folder: Path) -> None:
    """Check that both channels are in the mono sound."""
    path = folder / "stereo.mp4"
    write_clip(path, sound=True, tones=(440, 1000))
    with subject.doing("audio() of two channels"):
        waveform_L = reader.audio(path, RATE, None, None)
    if waveform_L.ndim != 1:
        subject.fail(f"audio of two channels gives {waveform_L.shape}; it must be mono")
    spectrum = np.abs(np.fft.rfft(waveform_L))
    heard = [spectrum[int(tone * len(waveform_L) / RATE) + np.arange(-5, 6)].max() for tone in (440, 1000)]
    if min(heard) < 0.2 * max(heard):
        subject.fail("audio of two channels has the tone of one of them only; mono is the mean of both")


def _loudest(waveform_L: np.ndarray, rate: int) -> float:
    return float(np.abs(np.fft.rfft(waveform_L)).argmax() * rate / len(waveform_L))


def _check_info(subject: Subject, reader: Any, path: Path, *, has_audio: bool, fps: int = FPS) -> None:
    with subject.doing("info()"):
        info = reader.info(path)
    _check_like(subject, info, VideoInfo(FRAMES, float(fps), HEIGHT, WIDTH, has_audio))


def _check_like(subject: Subject, info: Any, wanted: VideoInfo) -> None:
    """Check that an info says the same as another, in whatever words it tells the times of frames."""
    if not isinstance(info, VideoInfo):
        subject.fail(f"info gives a {type(info).__name__}; it must give a vlframe.VideoInfo")

    def told(said: VideoInfo) -> tuple[Any, ...]:
        times = [said.time(index) for index in (*range(said.frames),)]
        return (said.frames, said.height, said.width, said.has_audio, times, said.fps, said.seconds)

    with subject.doing("the times of info()"):
        *exact, times, fps, seconds = told(info)
    *wanted_exact, wanted_times, wanted_fps, wanted_seconds = told(wanted)
    near = len(times) == len(wanted_times) and np.allclose(
        [*times, fps, seconds], [*wanted_times, wanted_fps, wanted_seconds], rtol=1e-3, atol=NEAR
    )
    if exact != wanted_exact or not near:
        subject.fail(f"info says {info} of a clip that is {wanted}")


def _check_arrived(subject: Subject, reader: Any, arrived: Any, path: Path) -> None:
    """Check that a reader reads the same in a data worker, which gets it pickled."""
    with subject.doing("frames() in a data worker, which gets the reader pickled,"):
        same = np.array_equal(arrived.frames(path, [3]), reader.frames(path, [3]))
    if not same:
        subject.fail("frames() differs in a data worker, which gets the reader pickled")


def _check_uneven(subject: Subject, reader: Any, folder: Path) -> None:
    """Check a clip whose frames are shown at uneven times, as phones and screen recorders write them."""
    import av

    path = folder / "uneven.mp4"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FPS, options={"crf": "12", "bf": "0"})
        video.height, video.width, video.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        for index, tick in enumerate(UNEVEN):
            frame = av.VideoFrame.from_ndarray(picture(index), format="rgb24")
            frame.pts, frame.time_base = tick, Fraction(1, FPS)
            container.mux(video.encode(frame))
        container.mux(video.encode())
    try:
        with subject.doing("info() and frames() of a clip with uneven times", refusals=True):
            info, frames_TYXC = reader.info(path), reader.frames(path, range(len(UNEVEN)))
            times = [info.time(index) for index in range(info.frames)]
    except MediaError:  # what cannot be read right may be refused
        subject.left_out("a clip whose frames are shown at uneven times: it is refused")
        return
    wanted = [tick / FPS for tick in UNEVEN]
    if len(times) != len(wanted) or not np.allclose(times, wanted, atol=NEAR):
        subject.fail(f"info says that frames are shown at {times} s of a clip in which they are shown at {wanted} s")
    off = [float(np.abs(frame.astype(int) - picture(index)).mean()) for index, frame in enumerate(frames_TYXC)]
    if len(off) != len(wanted) or max(off) > 6:
        subject.fail("frames of a clip with uneven times are not those that were written, each once")


def _check_frames(subject: Subject, reader: Any, path: Path) -> None:
    with subject.doing("frames()"):
        all_TYXC = reader.frames(path, range(FRAMES))
    if all_TYXC.dtype != np.uint8 or all_TYXC.shape != (FRAMES, HEIGHT, WIDTH, 3):
        subject.fail(f"frames gives {all_TYXC.dtype} {all_TYXC.shape}; it must be uint8 T x Y x X x RGB")
    for index, frame_YXC in enumerate(all_TYXC):
        difference = np.abs(frame_YXC.astype(int) - picture(index)).mean()
        if difference > 6:  # codecs round; the next frame differs by 4.5, swapped colours by 50
            subject.fail(f"frame {index} is not the picture that was written (RGB, upright), off by {difference:.1f}")
    order = np.argsort([frame[HEIGHT // 2 :, : WIDTH // 2].mean() for frame in all_TYXC])
    if list(order) != list(range(FRAMES)):
        subject.fail(f"frames are not in the order they were written in: {order.tolist()}")
    for indices in SPARSE:
        with subject.doing(f"frames({list(indices)})"):
            some_TYXC = reader.frames(path, indices)
        if not np.array_equal(some_TYXC, all_TYXC[list(indices)]):
            subject.fail(f"frames({list(indices)}) are not the same frames, in that order, as those of the whole clip")


def _check_sound(subject: Subject, reader: Any, path: Path) -> None:
    for rate, start, end, seconds in SPANS:
        with subject.doing(f"audio() at {rate} Hz from {start} to {end}"):
            waveform_L = reader.audio(path, rate, start, end)
        if waveform_L.dtype != np.float32 or waveform_L.ndim != 1 or np.abs(waveform_L).max() > 1:
            subject.fail(f"audio gives {waveform_L.dtype} {waveform_L.shape}; it must be mono float32 in [-1, 1]")
        if abs(len(waveform_L) / rate - seconds) > 0.1:
            subject.fail(f"audio from {start} to {end} gives {len(waveform_L) / rate:.2f} s, not {seconds}")
        loudest = _loudest(waveform_L, rate)
        if abs(loudest - 440) > 5:
            subject.fail(f"audio at {rate} Hz has its loudest tone at {loudest:.0f} Hz; 440 Hz was written")


def _check_refusals(subject: Subject, reader: Any, silent: Path, folder: Path) -> None:
    text = folder / "text.mp4"
    text.write_text("this is not a film\n" * 40, encoding="utf-8")
    cut = folder / "cut.mp4"
    cut.write_bytes(silent.read_bytes()[:-400])
    damaged = folder / "damaged.mp4"
    stored = bytearray(silent.read_bytes())
    begin = stored.index(b"mdat") + 4
    third = (len(stored) - begin) // 3
    stored[begin + third // 2 : begin + third] = bytes(third - third // 2)
    damaged.write_bytes(stored)
    refusals: list[tuple[str, type[Exception], Callable[[], Any]]] = [
        ("a text file called .mp4", MediaError, lambda: reader.frames(text, [0])),
        ("an mp4 that was cut off", MediaError, lambda: reader.frames(cut, [0])),
        ("a film that is damaged inside", MediaError, lambda: reader.frames(damaged, range(FRAMES))),
        (f"frame {FRAMES} of {FRAMES}", MediaError, lambda: reader.frames(silent, [FRAMES])),
        ("the sound of a silent film", NoAudioTrack, lambda: reader.audio(silent, RATE, None, None)),
    ]
    for what, expected, ask in refusals:
        _refuse(subject, what, expected, ask)


def _refuse(subject: Subject, what: str, expected: type[Exception], ask: Callable[[], Any]) -> None:
    try:
        ask()
    except expected:
        return
    except Exception as error:
        subject.fail(f"{what} raises {named_line(error)}; it must be a vlframe.{expected.__name__}")
    subject.fail(f"{what} is read without an error; it must raise a vlframe.{expected.__name__}")
