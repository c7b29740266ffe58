"""Checks of readers. T frames, Y X pixels, C colours, L waveform samples."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vlframe.contracts.reader import VideoInfo
from vlframe.errors import MediaError, NoAudioTrack
from vlframe.testing.subject import Subject

FRAMES, FPS, HEIGHT, WIDTH, RATE = 24, 8, 48, 64, 16000
SPARSE = [(17, 3, 3, 22), (0,), (FRAMES - 1, 0), tuple(range(1, FRAMES, 5))]


def check_reader(
    component: str | type, params: Mapping[str, Any] | None = None, *, plugins: Sequence[str] = ()
) -> None:
    """Check a reader on small mp4 files written here (H.264, AAC): three seconds of known pictures, with and without a
    tone."""
    subject = Subject("reader", component, params or {}, plugins)
    reader = subject.build()
    subject.pickles(reader, "the reader")
    with tempfile.TemporaryDirectory() as folder:
        silent, sounding = Path(folder, "silent.mp4"), Path(folder, "sounding.mp4")
        write_clip(silent, sound=False)
        write_clip(sounding, sound=True)
        _check_info(subject, reader, silent, has_audio=False)
        _check_info(subject, reader, sounding, has_audio=True)
        _check_frames(subject, reader, sounding)
        _check_sound(subject, reader, sounding)
        _check_refusals(subject, reader, silent, Path(folder))


def picture(index: int) -> np.ndarray:
    """Return RGB ``frame_YXC``: a grey that encodes the index, red in the upper left quarter and blue in the
    lower right.
    """
    frame_YXC = np.full((HEIGHT, WIDTH, 3), 20 + index * 9, np.uint8)
    frame_YXC[: HEIGHT // 2, : WIDTH // 2] = (220, 20, 20)
    frame_YXC[HEIGHT // 2 :, WIDTH // 2 :] = (20, 20, 220)
    return frame_YXC


def write_clip(path: Path, *, sound: bool) -> None:
    import av

    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FPS, options={"g": "12", "crf": "12"})
        video.height, video.width, video.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        audio = container.add_stream("aac", rate=RATE, layout="mono") if sound else None
        for index in range(FRAMES):
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture(index), format="rgb24")))
        container.mux(video.encode())
        if audio is not None:
            time_L = np.arange(FRAMES * RATE // FPS) / RATE
            tone_L = (0.5 * np.sin(2 * np.pi * 440 * time_L)).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(tone_L[None], format="fltp", layout="mono")
            frame.sample_rate = RATE
            container.mux(audio.encode(frame))
            container.mux(audio.encode())


def _check_info(subject: Subject, reader: Any, path: Path, *, has_audio: bool) -> None:
    with subject.doing("info()"):
        info = reader.info(path)
    wanted = VideoInfo(FRAMES, float(FPS), HEIGHT, WIDTH, has_audio)
    if info != wanted:
        subject.fail(f"info says {info} of a clip that is {wanted}")


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
    for rate, start, end, seconds in ((RATE, None, None, 3.0), (8000, 1.0, 2.0, 1.0), (RATE, 2.5, None, 0.5)):
        with subject.doing(f"audio() at {rate} Hz from {start} to {end}"):
            waveform_L = reader.audio(path, rate, start, end)
        if waveform_L.dtype != np.float32 or waveform_L.ndim != 1 or np.abs(waveform_L).max() > 1:
            subject.fail(f"audio gives {waveform_L.dtype} {waveform_L.shape}; it must be mono float32 in [-1, 1]")
        if abs(len(waveform_L) / rate - seconds) > 0.1:
            subject.fail(f"audio from {start} to {end} gives {len(waveform_L) / rate:.2f} s, not {seconds}")
        spectrum = np.abs(np.fft.rfft(waveform_L))
        loudest = spectrum.argmax() * rate / len(waveform_L)
        if abs(loudest - 440) > 5:
            subject.fail(f"audio at {rate} Hz has its loudest tone at {loudest:.0f} Hz; 440 Hz was written")


def _check_refusals(subject: Subject, reader: Any, silent: Path, folder: Path) -> None:
    text = folder / "text.mp4"
    text.write_text("this is not a film\n" * 40)
    cut = folder / "cut.mp4"
    cut.write_bytes(silent.read_bytes()[:-400])
    refusals: list[tuple[str, type[Exception], Callable[[], Any]]] = [
        ("a file that is not there", MediaError, lambda: reader.info(folder / "lost.mp4")),
        ("a text file called .mp4", MediaError, lambda: reader.frames(text, [0])),
        ("an mp4 that was cut off", MediaError, lambda: reader.frames(cut, [0])),
        (f"frame {FRAMES} of {FRAMES}", MediaError, lambda: reader.frames(silent, [FRAMES])),
        ("the sound of a silent film", NoAudioTrack, lambda: reader.audio(silent, RATE, None, None)),
    ]
    for what, expected, ask in refusals:
        try:
            ask()
        except expected:
            continue
        except Exception as error:
            subject.fail(f"{what} raises {type(error).__name__}: {error}; it must be a vlframe.{expected.__name__}")
        subject.fail(f"{what} is read without an error; it must raise a vlframe.{expected.__name__}")
