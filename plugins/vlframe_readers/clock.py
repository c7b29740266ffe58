"""One clock for a file's pictures and sound: seconds from the beginning of whichever starts first.

That is what players show, and what FFmpeg counts ``-ss`` from. What an audio encoder puts before the first sample does
not count, nor does what an edit list hides.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from vlframe import VideoInfo

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

LOOK = 64  # packets; every stream that begins with the file has one among them
STILL_CODECS = ("mjpeg", "png", "bmp", "webp", "tiff", "gif")
JITTER = 0.1  # of a frame: allowed deviation of a constant-rate clip's frames from their nominal times


def opening(packets: Iterator[Packet]) -> tuple[list[Packet], float]:
    """Return the first packets, and the second at which the first of their streams begins, in stream time.

    A stream that is not among them begins later. (FFmpeg's information about streams before that can be wrong.)
    """
    held = list(islice(packets, LOOK))
    starts: dict[int, int] = {}
    audible: dict[int, int] = {}  # an audio encoder puts samples before the first one
    for packet in held:
        index = packet.stream_index
        if packet.size and not packet.is_discard:
            time = packet.pts if packet.pts is not None else max(packet.dts or 0, 0)
            starts[index] = min(starts.get(index, time), time)
        if index not in audible and packet.stream.type == "audio" and packet.pts is not None:
            audible[index] = packet.pts + _skipped(packet)
    ticks = {packet.stream_index: float(packet.time_base) for packet in held}
    begins = [max(time, audible.get(index, time)) * ticks[index] for index, time in starts.items()]
    return held, min(begins, default=0.0)


def _skipped(packet: Packet) -> int:
    """Return how much of the sound from this packet on is inaudible, in the stream's units."""
    context = packet.stream.codec_context  # None: there is no decoder for it
    if context is None or not context.rate or not packet.has_sidedata("skip_samples"):
        return 0
    (samples,) = struct.unpack_from("<I", bytes(packet.get_sidedata("skip_samples")))
    return round(samples / context.rate / packet.time_base)


def pictures(container: InputContainer) -> list[VideoStream]:
    """Return the video streams, without cover pictures: those flagged so, and a track of one picture beside a film."""
    from av.stream import Disposition

    found = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    films = [stream for stream in found if not _is_one_picture(stream)]
    return films or found


def _is_one_picture(stream: VideoStream) -> bool:
    """Return whether a track is a still picture by its codec, and is not known to have several.

    MP4 counts a track's pictures; Matroska says how long it is, in a tag that most writers add.
    """
    context = stream.codec_context
    if context is None or context.codec.canonical_name not in STILL_CODECS or stream.frames > 1:
        return False
    if stream.frames == 1:
        return True
    duration = _tagged_seconds(stream.metadata)
    return duration is None or stream.average_rate is None or duration * stream.average_rate < 2


def _tagged_seconds(tags: dict[str, str]) -> float | None:
    """Return the length of a Matroska track, which its tag writes as hours:minutes:seconds; None if it has none."""
    stated = next((text for name, text in tags.items() if name.upper().startswith("DURATION")), "")
    match = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", stated.strip())
    if match is None:
        return None
    hours, minutes, seconds = match.groups()
    return 3600 * int(hours) + 60 * int(minutes) + float(seconds)


@dataclass(frozen=True)
class Shown:
    """The times of a clip's frames, as in ``VideoInfo``."""

    begin: float = 0.0
    times: tuple[float, ...] | None = None
    end: float | None = None


def shown(
    begin_s: Sequence[float], last: float, fps: float, tick: float, clock: float | None, *, held: bool = False
) -> Shown:
    """Return the times of frames that begin at ``begin_s`` (ascending, in stream time), on the file's clock.

    Times are omitted if the rate is constant, unless the last frame is ``held`` for longer than the others. ``last`` is
    how long it is shown (0: unknown), ``tick`` the unit of the stream's times, and ``clock`` the second at which the
    file's clock begins (None: with the frames); all in seconds.
    """
    if not len(begin_s):
        return Shown()
    times_T = np.asarray(begin_s) - (begin_s[0] if clock is None else clock)
    begin = max(float(times_T[0]), 0.0)
    even_T = times_T[0] + np.arange(len(times_T)) / fps
    if not held and np.abs(times_T - even_T).max() <= max(tick, JITTER / fps):
        return Shown(begin if begin > tick else 0.0)
    times = tuple(np.round(times_T, 9).tolist())
    return Shown(times[0], times, round(times[-1] + last, 9) if last else None)


def with_times(info: VideoInfo, found: Shown) -> VideoInfo:
    from dataclasses import replace

    return replace(info, begin=found.begin, times=found.times, end=found.end)
