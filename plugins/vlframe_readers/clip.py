"""What a clip holds: the exact number of its frames, when each is shown, and where decoding can begin.

Headers are not believed. In MP4, MOV, Matroska and WebM every packet is one frame and carries its time of presentation,
so reading the packets (without decoding them) is enough; other containers are decoded once to be counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from vlframe import MediaError, VideoInfo
from vlframe_readers.container import reading, video_stream
from vlframe_readers.damage import whole
from vlframe_readers.keyframes import is_clean

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

TIMED = ("mov", "matroska")
REMEMBERED = 16  # clips; `info` is asked first and `frames` right after it


@dataclass(frozen=True)
class Clip:
    """``times`` (ascending, one for each frame) and ``keys`` (times at which decoding can begin) are in units of the
    stream's time base; both are empty where times cannot be relied upon and only decoding from the start is exact.

    ``closed`` says that after each key nothing refers to what was before it.
    """

    info: VideoInfo
    container: str
    codec: str
    pixel_format: str
    rows: int  # of a stored picture, before it is turned upright
    video_streams: int
    times: tuple[int, ...]
    keys: tuple[int, ...]
    closed: bool


def clip(path: Path) -> Clip:
    """The clip in this file; remembered until the file changes. Raises ``MediaError``."""
    path = Path(path)
    try:
        stat = path.stat()
    except OSError as error:
        raise MediaError(f"{path}: {error.strerror}") from error
    return _clip(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=REMEMBERED)
def _clip(path: Path, changed: int, size: int) -> Clip:
    with reading(path) as container:
        stream = video_stream(container, path)
        packets, first = _scan(container, stream)
        if first is None:
            raise MediaError(f"{path}: it holds no frame that can be decoded")
        if stream.frames > packets.count and "avi" in container.format.name:
            raise MediaError(
                f"{path}: it is damaged: its head says {stream.frames} frames, and it holds {packets.count}"
            )
        name, codec = container.format.name.split(",")[0], _codec(stream)
        times = packets.times() if name in TIMED and codec != "vp8" else ()  # vp8 has packets that are never shown
        turned = round(first.rotation / 90) % 2
        frames = len(times) or _count(path)
        info = VideoInfo(
            frames=frames,
            fps=_rate(stream, frames, times, path),
            height=first.width if turned else first.height,
            width=first.height if turned else first.width,
            has_audio=bool(container.streams.audio),
        )
        return Clip(
            info=info,
            container=name,
            codec=codec,
            pixel_format=first.format.name,
            rows=first.height,
            video_streams=len(container.streams.video),
            times=times,
            keys=tuple(sorted(packets.keys)) if times else (),
            closed=bool(times) and packets.closed,
        )


def _count(path: Path) -> int:
    """Frames that decoding gives."""
    with reading(path) as container:
        return sum(1 for _ in whole(container, video_stream(container, path), path))


class _Packets:
    """What the packets of a stream say, in the order of the file."""

    def __init__(self) -> None:
        self.count = 0
        self.shown: list[int | None] = []
        self.keys: list[int] = []
        self.closed = True
        self.ordered = True  # no frame is shown before the first that can be decoded

    def add(self, packet: Packet, codec: str, extradata: bytes | None) -> None:
        if not packet.is_discard:  # outside the edit list: decoded, never shown
            self.shown.append(packet.pts)
        if packet.pts is None:
            return
        if packet.is_keyframe:
            self.keys.append(packet.pts)
            self.closed = self.closed and is_clean(packet, codec, extradata)
        elif not self.keys or packet.pts < self.keys[0]:
            self.ordered = False
        elif packet.pts < self.keys[-1]:
            self.closed = False

    def times(self) -> tuple[int, ...]:
        """When each frame is shown; nothing where that is not sure."""
        if not self.ordered or None in self.shown or len(set(self.shown)) < len(self.shown):
            return ()
        return tuple(sorted(time for time in self.shown if time is not None))


def _scan(container: InputContainer, stream: VideoStream) -> tuple[_Packets, VideoFrame | None]:
    """All packets, and the first frame."""
    packets, first = _Packets(), None
    codec, extradata = _codec(stream), stream.codec_context.extradata
    for packet in container.demux(stream):
        packets.count += packet.dts is not None or packet.size > 0  # the last one only says that there are no more
        if packet.size:
            packets.add(packet, codec, extradata)
        if first is None:
            first = next(iter(packet.decode()), None)
    return packets, first


def _codec(stream: VideoStream) -> str:
    return stream.codec_context.codec.canonical_name


def _rate(stream: VideoStream, frames: int, times: tuple[int, ...], path: Path) -> float:
    """Frames a second on average: the header's where the frames' own times agree, else that of the times."""
    stated = stream.average_rate or stream.base_rate
    if len(times) > 1:
        measured = Fraction(frames - 1) / ((times[-1] - times[0]) * stream.time_base)
        if not stated or abs(stated / measured - 1) > 0.02:
            return float(measured)
    if not stated:
        raise MediaError(f"{path}: it does not say how many frames a second it has")
    return float(stated)
