"""Small video files of every kind we claim to read, encoded by PyAV when a test asks for them."""

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


@dataclass(frozen=True)
class ClipSpec:
    """``frame_times`` are seconds; None is a constant rate of ``fps``."""

    name: str
    codec: str = "libx264"
    frames: int = 40
    height: int = 48
    width: int = 64
    fps: int = 25
    pixel_format: str = "yuv420p"
    options: dict[str, str] = field(default_factory=lambda: {"g": "12"})
    frame_times: tuple[float, ...] | None = None
    rotation: int = 0
    sound: str | None = None  # codec of the sound track
    sound_begins: float = 0.0


def picture(index: int, height: int, width: int) -> np.ndarray:
    """RGB ``frame_YXC``, unlike that of any other index, with edges for the codec to get wrong."""
    y, x = np.mgrid[:height, :width]
    frame_YXC = np.stack([x * 3 + index * 7, y * 5 + index * 3, (x + y) * 2 + index * 11], axis=-1) % 256
    left = index * 2 % (width - 8)
    frame_YXC[4:12, left : left + 8] = 255
    return frame_YXC.astype(np.uint8)


def tone(seconds: float, sampling_rate: int) -> np.ndarray:
    """int16 stereo samples, interleaved: 440 Hz with a rising loudness, the right side at half the left's."""
    time_L = np.arange(int(seconds * sampling_rate)) / sampling_rate
    left_L = np.sin(2 * np.pi * 440 * time_L) * np.linspace(2000, 20000, len(time_L))
    return np.stack([left_L, left_L / 2], axis=1).astype(np.int16).reshape(1, -1)


def write_clip(folder: Path, spec: ClipSpec) -> Path:
    path = folder / spec.name
    with av.open(str(path), "w") as container:
        video = container.add_stream(spec.codec, rate=spec.fps, options=dict(spec.options))
        video.height, video.width, video.pix_fmt = spec.height, spec.width, spec.pixel_format
        video.codec_context.thread_count = 1  # libvpx's VP8 threads can wait for each other for ever on a busy machine
        if spec.frame_times:
            video.time_base = video.codec_context.time_base = Fraction(1, 1000)
        if spec.rotation:
            video.set_display_rotation(spec.rotation)
        sound = _sound_stream(container, spec) if spec.sound else None
        for index in range(spec.frames):
            container.mux(video.encode(_frame(spec, index)))
        container.mux(video.encode())
        if sound:
            _write_sound(container, sound, spec)
    return path


def write_sound(path: Path, codec: str, seconds: float = 1.5, sampling_rate: int = 44100) -> Path:
    """A file of sound only."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=sampling_rate)
        stream.layout = "stereo"
        _encode_sound(container, stream, seconds, 0.0)
    return path


def _frame(spec: ClipSpec, index: int) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(picture(index, spec.height, spec.width), format="rgb24")
    if spec.frame_times:
        frame.pts, frame.time_base = round(spec.frame_times[index] * 1000), Fraction(1, 1000)
    else:
        frame.pts, frame.time_base = index, Fraction(1, spec.fps)
    return frame


def _sound_stream(container: av.container.OutputContainer, spec: ClipSpec) -> av.AudioStream:
    stream = container.add_stream(spec.sound, rate=48000 if spec.sound == "libopus" else 44100)
    stream.layout = "stereo"
    return stream


def _write_sound(container: av.container.OutputContainer, stream: av.AudioStream, spec: ClipSpec) -> None:
    _encode_sound(container, stream, spec.frames / spec.fps - spec.sound_begins, spec.sound_begins)


def _encode_sound(
    container: av.container.OutputContainer, stream: av.AudioStream, seconds: float, begins: float
) -> None:
    frame = av.AudioFrame.from_ndarray(tone(seconds, stream.rate), format="s16", layout="stereo")
    frame.sample_rate, frame.pts, frame.time_base = stream.rate, round(begins * stream.rate), Fraction(1, stream.rate)
    resampler = av.AudioResampler(stream.format, "stereo", stream.rate, frame_size=stream.frame_size or 1024)
    for piece in resampler.resample(frame) + resampler.resample(None):
        container.mux(stream.encode(piece))
    container.mux(stream.encode())
