"""Damage that a decoder notices, and would otherwise hide.

FFmpeg repairs what it can: it paints over a slice that it could not read, drops a packet, takes up again behind a hole,
and gives the result like any other. It says so in three places: an error instead of a repair, where asked for one
(``ERRORS``); a flag on packet or frame; a line of its log. Codecs without checksums do not notice a changed bit at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlframe import MediaError

if TYPE_CHECKING:
    from av.container import InputContainer

# Of AVCodecContext.err_detect: verify checksums, and fail instead of concealing.
ERRORS = {"err_detect": "+crccheck+explode"}
# Part of FFmpeg's name, and how a line begins that means damage for certain. Others of the same level can be met in a
# good file, after a seek for one.
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


def whole(container: InputContainer, stream: Any, path: Path) -> Iterator[Any]:
    """The frames of a stream, picture or sound. Raises ``MediaError`` at the first that FFmpeg says is damaged."""
    for packet in container.demux(stream):
        if packet.is_corrupt:
            raise MediaError(f"{path}: it is damaged: its {stream.type} has a hole{_at(packet)}")
        for frame in packet.decode():
            if frame.is_corrupt:
                raise MediaError(f"{path}: it is damaged: its {stream.type} cannot be decoded whole{_at(frame)}")
            yield frame


def _at(thing: Any) -> str:
    if thing.pts is None or thing.time_base is None:
        return ""
    return f" at {float(thing.pts * thing.time_base):.3f} s"


@contextmanager
def log_checked(path: Path) -> Iterator[None]:
    """Raises ``MediaError`` after the block when FFmpeg has written a line that means damage."""
    import av

    level = av.logging.get_level()
    av.logging.set_skip_repeated(False)  # or the same damage in the next file would not be noticed
    av.logging.set_level(av.logging.ERROR)
    try:
        with av.logging.Capture(local=True) as lines:
            yield
    finally:
        av.logging.set_level(level)
    for _, part, text in lines:
        if any(known in part and text.startswith(start) for known, start in LOG):
            raise MediaError(f"{path}: it is damaged: {' '.join(text.split())} ({part})")
