"""Open a media file, and turn every failure into a ``MediaError`` with path and reason."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from vlframe import MediaError, check_opened, format_of, open_container, reason_of_failure
from vlframe_readers.appended import appended
from vlframe_readers.clock import pictures
from vlframe_readers.damage import ERRORS, log_checked
from vlframe_readers.tails import spans
from vlframe_readers.truncation import beyond_the_end, truncation

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream


@contextmanager
def reading(path: Path) -> Iterator[InputContainer]:
    """Open the file. Errors of FFmpeg inside the block become ``MediaError``."""
    import av

    try:
        if not path.is_file():
            raise MediaError(f"{path}: there is no such file" if not path.exists() else f"{path}: this is not a file")
        known = format_of(path)
        check_opened(path, known)
        if more := appended(path):
            raise MediaError(f"{path}: {more}")
        if missing := truncation(path):
            raise MediaError(f"{path}: {missing}")
        if known is not None and known.clips == "pillow":
            raise MediaError(f"{path}: this is {known.name}, which has no sound; ask about it with <image> or <video>")
        with log_checked(path), open_container(path, spans(path)) as container:
            if missing := beyond_the_end(container, path):
                raise MediaError(f"{path}: {missing}")
            yield container
    except (av.FFmpegError, OSError, MemoryError) as error:  # MemoryError: a size field with nonsense in it
        reason = reason_of_failure(path, getattr(error, "strerror", None) or str(error) or type(error).__name__)
        raise MediaError(f"{path}: cannot be decoded as video or sound: {reason}") from error
    except IndexError as error:  # PyAV's, for a packet of a stream that did not exist when the file was opened
        raise MediaError(f"{path}: it is damaged: a stream begins in the middle of it ({error})") from error


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Add the path to errors about a file's content, raised by code that does not know it."""
    try:
        yield
    except MediaError as error:
        raise type(error)(f"{path}: {error}") from error


def video_stream(container: InputContainer, path: Path) -> VideoStream:
    """Return the first video stream that is not a cover picture; decoded in one thread."""
    for stream in pictures(container):
        if stream.codec_context is None:
            raise MediaError(f"{path}: there is no decoder for its video")
        stream.codec_context.options = ERRORS
        stream.codec_context.thread_count = 1  # data workers share the cores; results must not depend on threads
        return stream
    raise MediaError(f"{path}: it has no video stream")
