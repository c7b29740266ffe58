"""Open a media file, and turn everything that can go wrong into a ``MediaError`` with path and reason."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from vlframe import MediaError
from vlframe_readers.damage import ERRORS, log_checked
from vlframe_readers.truncation import truncation

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

# What is opened. FFmpeg would also open still images, text (as a terminal recording), and playlists that name other
# files and addresses.
FORMATS = "mov,matroska,avi,mpegts,mpeg,mpegvideo,flv,asf,gif,ogg,wav,w64,mp3,flac,aac,aiff,amr,m4v,h264,hevc,obu,ivf"


@contextmanager
def reading(path: Path) -> Iterator[InputContainer]:
    """The opened file. Errors of FFmpeg inside the block become ``MediaError``."""
    import av

    if not path.is_file():
        raise MediaError(f"{path}: there is no such file" if not path.exists() else f"{path}: this is not a file")
    try:
        if missing := truncation(path):
            raise MediaError(f"{path}: {missing}")
        options = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
        with (
            log_checked(path),
            av.open(f"file:{path}", options=options, metadata_errors="ignore") as container,
        ):
            yield container
    except (av.FFmpegError, OSError, MemoryError) as error:  # MemoryError: a size field with nonsense in it
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise MediaError(f"{path}: cannot be decoded as video or sound: {reason}") from error
    except IndexError as error:  # PyAV's, for a packet of a stream that was not there when the file was opened
        raise MediaError(f"{path}: it is damaged: a stream begins in the middle of it ({error})") from error


def video_stream(container: InputContainer, path: Path) -> VideoStream:
    """The first video stream that is not the cover picture of a sound file; decoded in one thread."""
    from av.stream import Disposition

    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            if stream.codec_context is None:
                raise MediaError(f"{path}: there is no decoder for its video")
            stream.codec_context.options = ERRORS
            stream.codec_context.thread_count = 1  # data workers share the cores; bits must not depend on threads
            return stream
    raise MediaError(f"{path}: it has no video stream")
