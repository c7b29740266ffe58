"""Report damage that a decoder notices but would otherwise hide.

FFmpeg repairs what it can: it conceals a slice that it could not read, drops a packet, resumes after a hole, and
returns the result like any other. It reports this in three places: an error instead of a repair, if requested
(``ERRORS``); a flag on packet or frame; a line of its log. Codecs without checksums do not notice a changed bit at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlframe import MediaError
from vlframe_readers.appended import joint

if TYPE_CHECKING:
    from av.container import InputContainer

# Of AVCodecContext.err_detect: verify checksums, and fail instead of concealing.
ERRORS = {"err_detect": "+crccheck+explode"}
# Part of FFmpeg's name, and the beginning of a line that always means damage. Others of the same level also occur in
# good files, for example after a seek.
LOG = (
    ("gif", "LZW decode failed"),
    ("matroska", "0x00 at pos"),
    ("matroska", "Invalid EBML"),
    ("matroska", "Invalid track number"),
    ("matroska", "Element at"),
    ("matroska", "Error parsing frame sizes"),
    ("ogg", "CRC mismatch"),
    ("flac", "CRC error"),
    ("flac", "decode_frame() failed"),
)

UNSTATED = ("wav", "au", "w64", "caf", "aiff")  # containers of raw samples, which may not state their number
UNSTATED_REST = 64  # bytes after the last whole sample


def whole(container: InputContainer, stream: Any, path: Path) -> Iterator[Any]:
    """Yield the frames of a stream, picture or sound. ``MediaError`` at the first that FFmpeg reports as damaged."""
    for packet in container.demux(stream):
        yield from _checked(packet, path)


def sound_frames(packets: Iterable[Any], stream: Any, path: Path, seen: Callable[[Any], None]) -> Iterator[Any]:
    """Yield the frames of a sound track like ``whole``; packets of other streams are only passed to ``seen``."""
    for packet in packets:
        if packet.stream_index == stream.index:
            yield from _checked(packet, path)
        else:
            seen(packet)


def _checked(packet: Any, path: Path) -> Iterator[Any]:
    if packet.is_corrupt and not _is_the_rest(packet, path):
        joined = joint(path) if packet.stream.container.format.name == "mpegts" else None
        hole = f"it is damaged: its {packet.stream.type} has a hole{_at(packet)}"
        raise MediaError(f"{path}: {joined or hole}")
    if repeats(packet):
        return
    for frame in packet.decode():
        if frame.is_corrupt and not packet.is_corrupt:
            raise MediaError(f"{path}: it is damaged: its {packet.stream.type} cannot be decoded whole{_at(frame)}")
        yield frame


def repeats(packet: Any) -> bool:
    """Return whether a packet is empty and has a time: the picture before it stays on show (Theora writes these)."""
    return not packet.size and packet.pts is not None


def _is_the_rest(packet: Any, path: Path) -> bool:
    """Return whether a packet is only shorter than others because the file ends after it.

    FFmpeg flags the last packet of samples whose number the file does not state (WAV written to a pipe). A file that is
    shorter than it states has already been refused (``truncation``).
    """
    if packet.stream.container.format.name not in UNSTATED or packet.pos is None:
        return False
    return packet.pos + packet.size + UNSTATED_REST > path.stat().st_size


def _at(thing: Any) -> str:
    if thing.pts is None or thing.time_base is None:
        return ""
    return f" at {float(thing.pts * thing.time_base):.3f} s"


@contextmanager
def log_checked(path: Path) -> Iterator[None]:
    """Raise ``MediaError`` after the block if FFmpeg has logged a line that means damage."""
    import av

    level = av.logging.get_level()
    av.logging.set_skip_repeated(False)  # otherwise the same damage in the next file would not be logged
    av.logging.set_level(av.logging.ERROR)
    try:
        with av.logging.Capture(local=True) as lines:
            yield
    finally:
        av.logging.set_level(level)
    for _, part, text in lines:
        if any(known in part and text.startswith(start) for known, start in LOG):
            raise MediaError(f"{path}: it is damaged: {' '.join(text.split())} ({part})")
