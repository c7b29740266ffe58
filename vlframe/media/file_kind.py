"""Detects the kind of a media file by its content, not its name."""

from pathlib import Path

from vlframe.contracts.reader import ClipPath
from vlframe.errors import MediaError
from vlframe.media.containers import open_container
from vlframe.media.formats import Format, check_opened, format_of, reason_of_failure
from vlframe.media.frame_files import frame_files
from vlframe.media.images import picture_count
from vlframe.media.missing import no_such_file


def media_kind(path: ClipPath) -> str:
    """Return ``image`` for a picture; ``video`` for an animated one, and for a folder or a list of pictures; else by
    the container's streams.

    The cover picture of a sound file does not make it a video. Raises ``MediaError`` for everything else.
    """
    if frame_files(path) is not None:
        return "video"
    assert isinstance(path, Path)
    if not path.is_file():
        raise MediaError(f"{path}: {no_such_file(path)}")
    try:
        known = format_of(path)
    except OSError as error:
        raise MediaError(f"{path}: {error.strerror}") from error
    check_opened(path, known)
    if (known is None or known.library == "pillow") and (pictures := picture_count(path)):
        return "image" if pictures == 1 else "video"
    if known is not None and known.library == "pillow":
        raise MediaError(
            f"{path}: this is {known.name}, and it cannot be read: it is damaged, or of a variety that is not opened; "
            "save it as JPEG or PNG"
        )
    return _by_streams(path, known)


def _by_streams(path: Path, known: Format | None) -> str:
    video, audio = _streams(path, known)
    if video:
        return "video"
    if audio:
        return "audio"
    raise MediaError(f"{path}: it has neither pictures nor sound")


def _streams(path: Path, known: Format | None) -> tuple[bool, bool]:
    """Return whether the container has video, and whether it has sound."""
    import av
    from av.stream import Disposition

    try:
        with open_container(path) as container:
            covers = [stream.disposition & Disposition.attached_pic for stream in container.streams.video]
            return not all(covers), bool(container.streams.audio)
    except (av.FFmpegError, OSError, MemoryError) as error:
        reason = reason_of_failure(path, getattr(error, "strerror", None) or str(error))
        what = "it is neither an image, nor video, nor sound" if known is None else f"this is {known.name}, and damaged"
        raise MediaError(f"{path}: {what}: {reason}") from error
