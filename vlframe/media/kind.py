"""What a file is, by its content and not by its name."""

from pathlib import Path

from vlframe.data.sample import MediaKind
from vlframe.errors import MediaError
from vlframe.media.images import picture_count

# Containers of video and sound. FFmpeg would also open text (as a terminal recording), playlists that name other files,
# and take noise for pictures.
CONTAINERS = "mov,matroska,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,wav,w64,mp3,flac,aac,aiff,amr,m4v,h264,hevc,obu,ivf"


def media_kind(path: Path) -> MediaKind:
    """``image`` for what PIL knows (a GIF of several pictures is a ``video``), else by the streams of the container.

    The cover picture of a sound file does not make it a video. Raises ``MediaError`` for everything else.
    """
    path = Path(path)
    if not path.is_file():
        raise MediaError(f"{path}: there is no such file")
    if pictures := picture_count(path):
        return "image" if pictures == 1 else "video"
    video, audio = _streams(path)
    if video:
        return "video"
    if audio:
        return "audio"
    raise MediaError(f"{path}: it has neither pictures nor sound")


def _streams(path: Path) -> tuple[bool, bool]:
    """Whether the container has video, and sound."""
    import av
    from av.stream import Disposition

    try:
        options = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}
        with av.open(f"file:{path}", options=options, metadata_errors="ignore") as container:
            covers = [stream.disposition & Disposition.attached_pic for stream in container.streams.video]
            return not all(covers), bool(container.streams.audio)
    except (av.FFmpegError, OSError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise MediaError(f"{path}: it is neither an image, nor video, nor sound: {reason}") from error
