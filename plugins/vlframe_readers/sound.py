"""The sound of a media file.

As the FFmpeg command line gives it with ``-ac 1 -f s16le``: mixed down on 16-bit samples. (A float mix-down of stereo
is louder by the square root of two, which shifts every log-mel feature.)
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vlframe import MediaError, NoAudioTrack
from vlframe_readers.container import reading
from vlframe_readers.damage import ERRORS, whole

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer

MICROSECONDS = 1_000_000  # the unit of a container's own times


def waveform(path: Path, sampling_rate: int, start: float | None, end: float | None) -> np.ndarray:
    """Mono float32 ``waveform_L`` in [-1, 1] at ``sampling_rate`` Hz, between ``start`` and ``end`` seconds.

    The times are the container's, so sound that sets in late stays in step with the picture. Decoding begins at the
    start of the file, which makes the cut exact to the sample. Raises ``NoAudioTrack`` for a file without sound.
    """
    path = Path(path)
    if end is not None and not max(start or 0.0, 0.0) < end:
        raise MediaError(f"{path}: start={start} is not before end={end}")
    with reading(path) as container:
        if not container.streams.audio:
            raise NoAudioTrack(f"{path}: it has no audio track")
        stream = container.streams.audio[0]
        if stream.codec_context is None:
            raise MediaError(f"{path}: there is no decoder for its sound")
        stream.codec_context.options = ERRORS
        late = _late(container, stream)
        first = 0 if start is None else max(0, round((start - late) * sampling_rate))
        stop = None if end is None else max(0, round((end - late) * sampling_rate))
        samples_L = _samples(path, container, stream, sampling_rate, stop)
    if not len(samples_L[first:]):
        seconds = late + len(samples_L) / sampling_rate
        raise MediaError(f"{path}: no sound between start={start} and end={end}; it ends at {seconds:.3f} s")
    return samples_L[first:].astype(np.float32) / 32768


def _late(container: InputContainer, stream: AudioStream) -> float:
    """Seconds from the start of the file to the first sample."""
    if stream.start_time is None or container.start_time is None:
        return 0.0
    return max(0.0, float(stream.start_time * stream.time_base) - container.start_time / MICROSECONDS)


def _samples(
    path: Path, container: InputContainer, stream: AudioStream, sampling_rate: int, stop: int | None
) -> np.ndarray:
    """int16 samples from the first one up to ``stop``."""
    chunks: list[np.ndarray] = []
    length = 0
    try:
        for chunk_L in _resampled(path, container, stream, sampling_rate):
            chunks.append(chunk_L)
            length += len(chunk_L)
            if stop is not None and length >= stop:
                break
    except ValueError as error:  # the resampler's, when the sound changes its layout half-way
        raise MediaError(f"{path}: its sound cannot be decoded: {error}") from error
    return np.concatenate([np.empty(0, np.int16), *chunks])[:stop]


def _resampled(path: Path, container: InputContainer, stream: AudioStream, sampling_rate: int) -> Iterator[np.ndarray]:
    import av

    resampler = av.AudioResampler(format="s16", layout="mono", rate=sampling_rate)
    for frame in whole(container, stream, path):
        for out in resampler.resample(frame):
            yield out.to_ndarray()[0]
    for out in resampler.resample(None):
        yield out.to_ndarray()[0]
