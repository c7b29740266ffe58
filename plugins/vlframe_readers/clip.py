"""Index a clip: the exact number of frames, the time of each, and the points where decoding can begin.

Headers are not trusted. In MP4, MOV, Matroska and WebM every packet is one frame with its presentation time, so reading
the packets (without decoding) is enough; other containers are decoded once to count their frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import chain, pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from vlframe import MediaError, VideoInfo
from vlframe_readers.chunks import avi_chunks, is_unknown
from vlframe_readers.clock import opening, shown, with_times
from vlframe_readers.container import named, reading, video_stream
from vlframe_readers.damage import repeats, whole
from vlframe_readers.keyframes import is_clean
from vlframe_readers.orientation import Orientation, orientation

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

TIMED = ("mov", "matroska")
# Other containers whose frames have times; in the rest all frames are shown equally long.
STAMPED = ("matroska", "gif", "mpegts", "mpeg", "flv", "asf", "ogg", "rm", "mxf", "ivf")
PIPED = 0x40000000  # frames in the head of an AVI that FFmpeg wrote to a pipe
REMEMBERED = 16  # clips; `info` is called first and `frames` right after it


@dataclass(frozen=True)
class Clip:
    """``times`` (ascending, one for each frame) and ``keys`` (times at which decoding can begin) are in units of the
    stream's time base; both are empty if times are unreliable and only decoding from the start is exact.

    ``closed``: nothing after a key refers to anything before it. ``piped``: the head has a placeholder for the number
    of frames.
    """

    info: VideoInfo
    container: str
    codec: str
    pixel_format: str
    rows: int  # height of the stored picture, before it is rotated upright
    video_streams: int
    times: tuple[int, ...]
    keys: tuple[int, ...]
    closed: bool
    piped: bool
    orientation: Orientation


def clip(path: Path) -> Clip:
    """Index the clip in this file; cached until the file changes. Raises ``MediaError``."""
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
        packets, first, zero = _scan(container, stream)
        if first is None:
            raise MediaError(f"{path}: it holds no frame that can be decoded")
        name, codec = container.format.name.split(",")[0], _codec(stream)
        if name == "avi":
            _check_chunks(stream, packets, path)
        times = packets.times() if name in TIMED and codec != "vp8" else ()  # vp8 has packets that are never shown
        shown_at: Sequence[int | None] = times
        last = packets.durations.get(times[-1], 0) if times else 0
        if not times:
            shown_at, last = _decoded_times(path, name)
            if packets.repeated_until:
                last = max(last, packets.repeated_until - (shown_at[-1] or 0))
        if name == "avi":
            shown_at, last = _chunk_times(stream, packets, shown_at, path)
        with named(path):
            turn = orientation(first)
        return Clip(
            info=_info(container, stream, packets, shown_at, last, first, turn, zero, path),
            container=name,
            codec=codec,
            pixel_format=first.format.name,
            rows=first.height,
            video_streams=len(container.streams.video),
            times=times,
            keys=tuple(sorted(packets.keys)) if times else (),
            closed=bool(times) and packets.closed,
            piped=_is_piped(stream),
            orientation=turn,
        )


def _info(
    container: InputContainer,
    stream: VideoStream,
    packets: _Packets,
    shown_at: Sequence[int | None],
    last: int,
    first: VideoFrame,
    turn: Orientation,
    zero: float | None,
    path: Path,
) -> VideoInfo:
    """Build the ``VideoInfo``. ``shown_at`` has an item for each frame; ``zero``: start of the file's clock (None: the
    first frame)."""
    known = [time for time in shown_at if time is not None]
    if len(known) < len(shown_at) or any(after <= before for before, after in pairwise(known)):
        known = []
    fps = _rate(stream, len(shown_at), known, path)
    assert stream.time_base is not None  # every stream that was demuxed has one
    tick = float(stream.time_base)
    info = VideoInfo(
        frames=len(shown_at),
        fps=fps,
        height=first.width if turn.swapped else first.height,
        width=first.height if turn.swapped else first.width,
        has_audio=bool(container.streams.audio),
    )
    times = [time * tick for time in known]
    return with_times(info, shown(times, last * tick, fps, tick, zero, held=packets.repeated_until > 0))


def _decoded_times(path: Path, container_name: str) -> tuple[list[int | None], int]:
    """Decode all frames; return their times (None if the container's are useless), and how long the last is shown."""
    with reading(path) as container:
        frames = [(frame.pts, frame.duration) for frame in whole(container, video_stream(container, path), path)]
    if container_name not in STAMPED and container_name != "avi":
        return [None] * len(frames), 0
    return [pts for pts, _ in frames], (frames[-1][1] if frames else 0) or 0


def _check_chunks(stream: VideoStream, packets: _Packets, path: Path) -> None:
    """Raise ``MediaError`` for an AVI that holds less than its head says. An empty chunk is a dropped frame."""
    stated = _stated(stream)
    if stated <= packets.count:
        return
    with path.open("rb") as file:
        held = avi_chunks(file, path.stat().st_size, stream.index)
    if held < stated:
        raise MediaError(
            f"{path}: it is damaged: its head says {stated} frames, and it holds {max(held, packets.count)}"
        )


def _stated(stream: VideoStream) -> int:
    """Return the number of frames in the head of an AVI; 0 if its writer did not know it."""
    return 0 if _is_piped(stream) else stream.frames


def _is_piped(stream: VideoStream) -> bool:
    return stream.frames == PIPED or (stream.frames != 0 and is_unknown(stream.frames))


def _chunk_times(
    stream: VideoStream, packets: _Packets, decoded: Sequence[int | None], path: Path
) -> tuple[Sequence[int | None], int]:
    """Return when the frames of an AVI are shown, and how long the last one is; None for each at a constant rate.

    An AVI has no times: a frame is shown at the number of its chunk. That is the order of decoding, which says nothing
    of when a reordered picture is shown.
    """
    numbers, ordered = packets.numbers, list(decoded) == packets.shown
    dropped = any(after - before != 1 for before, after in pairwise(numbers))
    if not dropped and not (ordered and numbers[0]):
        return [None] * len(decoded), 0
    if not ordered:
        raise MediaError(
            f"{path}: this AVI has dropped frames among pictures that are stored in another order than they are shown, "
            "so when each is shown is unknown; convert it from its source with ffmpeg"
        )
    return numbers, max(_stated(stream) - numbers[-1], 1)


class _Packets:
    """Facts from the packets of a stream, in the order of the file."""

    def __init__(self) -> None:
        self.count = 0
        self.shown: list[int | None] = []
        self.numbers: list[int] = []  # of decoding
        self.durations: dict[int, int] = {}
        self.keys: list[int] = []
        self.repeated_until = 0  # when the last packet ends that repeats a picture
        self.closed = True
        self.ordered = True  # no frame is shown before the first that can be decoded

    def add(self, packet: Packet, codec: str, extradata: bytes | None) -> None:
        if not packet.is_discard:  # outside the edit list: decoded, never shown
            self.shown.append(packet.pts)
            if packet.dts is not None:
                self.numbers.append(packet.dts)
        if packet.pts is None:
            return
        self.durations[packet.pts] = packet.duration or 0
        if packet.is_keyframe:
            self.keys.append(packet.pts)
            self.closed = self.closed and is_clean(packet, codec, extradata)
        elif not self.keys or packet.pts < self.keys[0]:
            self.ordered = False
        elif packet.pts < self.keys[-1]:
            self.closed = False

    def times(self) -> tuple[int, ...]:
        """Return when each frame is shown; () if that is uncertain."""
        if not self.ordered or None in self.shown or len(set(self.shown)) < len(self.shown):
            return ()
        return tuple(sorted(time for time in self.shown if time is not None))


def _scan(container: InputContainer, stream: VideoStream) -> tuple[_Packets, VideoFrame | None, float | None]:
    """Return all packets, the first frame, and the second at which the common clock begins (None: no sound)."""
    from av.stream import Discard

    packets, first = _Packets(), None
    codec, extradata = _codec(stream), stream.codec_context.extradata
    sounds = container.streams.audio[:1]
    demuxed = container.demux(stream, *sounds)
    held, zero = opening(demuxed) if sounds else ([], None)
    for sound in sounds:
        sound.discard = Discard.all  # its beginning is known now
    for packet in chain(held, demuxed):
        if packet.stream_index != stream.index:
            continue
        packets.count += packet.dts is not None or packet.size > 0  # the last one only marks the end
        if packet.size:
            packets.add(packet, codec, extradata)
        elif repeats(packet):
            packets.repeated_until = (packet.pts or 0) + (packet.duration or 0)
        if first is None and not repeats(packet):
            first = next(iter(packet.decode()), None)
    return packets, first, zero


def _codec(stream: VideoStream) -> str:
    return stream.codec_context.codec.canonical_name


def _rate(stream: VideoStream, frames: int, times: Sequence[int], path: Path) -> float:
    """Return the average frame rate: the header's if the frames' own times agree, else that of the times."""
    stated = stream.average_rate or stream.base_rate
    if len(times) > 1:
        assert stream.time_base is not None
        measured = Fraction(frames - 1) / ((times[-1] - times[0]) * stream.time_base)
        if not stated or abs(stated / measured - 1) > 0.02:
            return float(measured)
    if not stated:
        raise MediaError(f"{path}: it does not say how many frames a second it has")
    return float(stated)
