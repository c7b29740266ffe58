"""Read the sound of a media file.

It equals the FFmpeg command line with ``-ac 1 -f s16le``: mixed down on 16-bit samples. (A float mix-down of stereo
is louder by the square root of two, which shifts every log-mel feature.)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vlframe import MediaError, NoAudioTrack, no_sound
from vlframe_readers.appended import joint
from vlframe_readers.clock import opening, pictures
from vlframe_readers.container import reading
from vlframe_readers.damage import ERRORS, sound_frames

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.packet import Packet

HOLE = 0.1  # seconds without a sample that count as silence; less is rounding of a container's times
LONGEST_HOLE = 86_400.0  # seconds; a longer one is a corrupt time stamp
PIECE = 1 << 16  # samples of silence made at a time


def waveform(path: Path, sampling_rate: int, start: float | None, end: float | None) -> np.ndarray:
    """Return mono float32 ``waveform_L`` in [-1, 1] at ``sampling_rate`` Hz, from ``start`` to ``end``.

    The seconds are those of the file's clock, so sound and pictures of a span match whichever begins first. A track
    that begins late, has a hole or ends before the pictures is padded with silence. ``start`` None is the beginning of
    the file, ``end`` None the end of the track; an ``end`` after that of the file moves to it. Decoding begins at the
    start of the file, which makes the cut exact to the sample.

    Raises ``NoAudioTrack`` for a file without sound, and for a part of a film in which its track has none.
    """
    path = Path(path)
    if end is not None and not max(start or 0.0, 0.0) < end:
        raise MediaError(f"{path}: start={start} is not before end={end}")
    first = max(0, round((start or 0.0) * sampling_rate))
    stop = None if end is None else round(end * sampling_rate)
    with reading(path) as container:
        track = _Track(path, container, sampling_rate)
        track.read(stop)
    samples_L = np.concatenate([np.empty(0, np.int16), *track.chunks])
    begin, finish = track.begin, track.begin + len(samples_L)
    if stop is None:
        stop = finish
    if not max(first, begin) < min(stop, finish):
        _refuse(path, track, finish, start, end, first)
    stop = min(stop, max(finish, track.pictures_end))
    span_L = np.zeros(stop - first, np.float32)
    heard_L = samples_L[max(first - begin, 0) : max(stop - begin, 0)]
    at = max(begin - first, 0)
    span_L[at : at + len(heard_L)] = heard_L.astype(np.float32) / 32768
    return span_L


def _refuse(path: Path, track: _Track, finish: int, start: float | None, end: float | None, first: int) -> None:
    """Raise an error that says why a span has no sound: it is outside the file, or the film has none there."""
    begins, ends = track.begin / track.rate, finish / track.rate
    if not track.chunks:
        found = "its sound track holds no sample"
    elif not track.whole:  # decoding stopped before the track's end
        found = f"its sound track begins at {begins:.3f} s"
    else:
        found = f"its sound track lasts from {begins:.3f} to {ends:.3f} s"
    if track.pictures and (first < track.begin or first < track.pictures_end):
        raise NoAudioTrack(f"{no_sound(path, start, end)}; {found}")
    if track.chunks:
        found = f"it ends at {max(finish, track.pictures_end) / track.rate:.3f} s"
    raise MediaError(f"{no_sound(path, start, end)}; {found}")


@dataclass
class _Track:
    """The first sound track of an opened file, decoded as far as needed.

    ``zero`` is the second at which the file's clock begins, in stream time. ``begin`` and ``pictures_end`` are in
    samples on that clock: the beginning of the sound, and the end of the pictures met on the way. ``chunks`` are int16
    samples, without a hole; ``whole``: they reach the end of the track.
    """

    path: Path
    container: InputContainer
    rate: int
    chunks: list[np.ndarray] = field(default_factory=list)
    zero: float = 0.0
    begin: int = 0
    pictures_end: int = 0
    whole: bool = True
    _ends: dict[int, int] = field(default_factory=dict)  # of the pictures, by stream, in its units

    def __post_init__(self) -> None:
        if not self.container.streams.audio:
            raise NoAudioTrack(f"{self.path}: it has no audio track")
        self.stream: AudioStream = self.container.streams.audio[0]
        if self.stream.codec_context is None:
            raise MediaError(f"{self.path}: there is no decoder for its sound")
        self.stream.codec_context.options = ERRORS
        self.pictures = pictures(self.container)

    def read(self, stop: int | None) -> None:
        """Decode samples from the first one up to ``stop``, or all."""
        length = 0
        try:
            for chunk_L in self._resampled():
                self.chunks.append(chunk_L)
                length += len(chunk_L)
                if stop is not None and self.begin + length >= stop:
                    self.whole = False
                    break
        except ValueError as error:  # the resampler's, when the sound changes its layout half-way
            if isinstance(error, MediaError):
                raise
            raise MediaError(f"{self.path}: its sound cannot be decoded: {error}") from error
        self.pictures_end = self._end_of_pictures()

    def _resampled(self) -> Iterator[np.ndarray]:
        import av

        resampler = av.AudioResampler(format="s16", layout="mono", rate=self.rate)
        for frame in self._without_holes():
            for out in resampler.resample(frame):
                yield out.to_ndarray()[0]
        for out in resampler.resample(None):
            yield out.to_ndarray()[0]

    def _without_holes(self) -> Iterator[AudioFrame]:
        """Yield the decoded frames, with silence for gaps longer than ``HOLE``."""
        due: float | None = None
        assert self.stream.time_base is not None  # every stream that is demuxed has one
        tick = float(self.stream.time_base)
        demuxed = self.container.demux(self.stream, *self.pictures)
        held, self.zero = opening(demuxed)
        for frame in sound_frames(chain(held, demuxed), self.stream, self.path, self._see_picture):
            now = None if frame.pts is None else frame.pts * tick
            if due is None:
                due = self.zero if now is None else now
                self.begin = max(0, round((due - self.zero) * self.rate))
                self._check_hole(due - self.zero)
            elif now is not None and now - due > HOLE:
                self._check_hole(now - due)
                yield from _silence(frame, round((now - due) * frame.sample_rate))
                due = now
            elif now is not None and due - now > HOLE:
                self._check_joint()
            due += frame.samples / frame.sample_rate
            yield frame

    def _check_hole(self, seconds: float) -> None:
        if seconds > LONGEST_HOLE:
            raise MediaError(f"{self.path}: it is damaged: its sound has a hole of {seconds:.0f} s")

    def _check_joint(self) -> None:
        """Raise MediaError where the time goes back because transport streams were joined, as for their pictures."""
        if self.container.format.name == "mpegts" and (joined := joint(self.path)):
            raise MediaError(f"{self.path}: {joined}")

    def _see_picture(self, packet: Packet) -> None:
        if packet.size and not packet.is_discard:
            time = packet.pts if packet.pts is not None else packet.dts or 0
            end = time + (packet.duration or 0)
            self._ends[packet.stream_index] = max(self._ends.get(packet.stream_index, time), end)

    def _end_of_pictures(self) -> int:
        seen = [stream for stream in self.pictures if stream.index in self._ends]
        ends = [float(self._ends[stream.index] * (stream.time_base or 0)) - self.zero for stream in seen]
        return max((round(end * self.rate) for end in ends), default=0)


def _silence(like: AudioFrame, samples: int) -> Iterator[AudioFrame]:
    import av

    while samples > 0:
        frame = av.AudioFrame(format=like.format.name, layout=like.layout.name, samples=min(samples, PIECE))
        frame.sample_rate = like.sample_rate
        for plane in frame.planes:
            plane.update(bytes([128 if like.format.name.startswith("u8") else 0]) * plane.buffer_size)
        samples -= frame.samples
        yield frame
