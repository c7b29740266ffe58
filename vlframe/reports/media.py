"""The media of questions, for a page: small files within it, others beside it, never more than allowed.

A film that browsers do not play is written anew as H.264, a sound as it is. What is left out says why.
"""

from __future__ import annotations

import base64
import hashlib
import io
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from vlframe.errors import MediaError
from vlframe.media.containers import open_container
from vlframe.media.formats import PICTURE_SUFFIXES
from vlframe.media.images import load_image

if TYPE_CHECKING:
    from av import VideoFrame

SMALL = 64 * 2**10  # bytes of a file that goes into the page
INSIDE = 8 * 2**20  # bytes of all of these
WIDEST = 480  # pixels of a film that is written anew
PLAYED = {
    "video": {".mp4": "video/mp4", ".m4v": "video/mp4", ".webm": "video/webm"},
    "image": {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif",
              ".webp": "image/webp"},
    "audio": {".wav": "audio/wav", ".mp3": "audio/mpeg", ".ogg": "audio/ogg", ".flac": "audio/flac",
              ".m4a": "audio/mp4"},
}  # fmt: skip
CODECS = ("h264", "vp8", "vp9", "av1")  # that browsers play


@dataclass(frozen=True)
class Shown:
    """A medium on the page: its kind, and its address (within the page or beside it), or why it has none."""

    kind: str
    src: str = ""
    why: str = ""


@dataclass
class MediaFolder:
    """Takes media in the order in which they are asked for, while they fit ``budget`` bytes, all together."""

    folder: Path
    budget: int
    spent: int = 0
    inside: int = 0
    _known: dict[str, Shown] = field(default_factory=dict)

    def shown(self, path: str) -> Shown:
        """Return where the page finds a file; each is kept once."""
        if path not in self._known:
            self._known[path] = self._taken(Path(path))
        return self._known[path]

    def _taken(self, path: Path) -> Shown:
        suffix = path.suffix.lower()
        other = "image" if suffix in PICTURE_SUFFIXES else "video"
        kind = next((kind for kind, types in PLAYED.items() if suffix in types), other)
        if not path.is_file():
            return Shown(
                kind, why=f"{path.name}: {'a folder of pictures' if path.is_dir() else 'is not there any more'}"
            )
        if path.stat().st_size > self.budget - self.spent and suffix in PLAYED[kind]:
            return Shown(kind, why=f"{path.name}: left out, media_mb is spent")
        content, suffix = _playable(path, kind, suffix)
        if content is None:
            return Shown(kind, why=f"{path.name}: no browser plays it")
        if len(content) > self.budget - self.spent:
            return Shown(kind, why=f"{path.name}: left out, media_mb is spent")
        self.spent += len(content)
        if len(content) <= SMALL and self.inside + len(content) <= INSIDE:
            self.inside += len(content)
            return Shown(kind, f"data:{PLAYED[kind][suffix]};base64,{base64.b64encode(content).decode('ascii')}")
        name = f"{hashlib.sha256(content).hexdigest()[:16]}{suffix}"
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_bytes(content)
        return Shown(kind, f"{self.folder.name}/{name}")


def _playable(path: Path, kind: str, suffix: str) -> tuple[bytes | None, str]:
    """Return the file as it is, or its pictures as a film or a picture that browsers show; None if it cannot be
    read.
    """
    if suffix in PLAYED[kind] and (kind != "video" or _codec(path) in CODECS):
        return path.read_bytes(), suffix
    return (_as_png(path), ".png") if kind == "image" else (_as_mp4(path), ".mp4")


def _codec(path: Path) -> str:
    import av

    try:
        with open_container(path) as container:
            return container.streams.video[0].codec_context.codec.canonical_name if container.streams.video else ""
    except (av.FFmpegError, ValueError):
        return ""


def _as_png(path: Path) -> bytes | None:
    from PIL import Image

    try:
        (picture_YXC,) = load_image(path)
    except MediaError:
        return None
    picture, out = Image.fromarray(picture_YXC), io.BytesIO()
    picture.thumbnail((WIDEST, WIDEST))
    picture.save(out, format="PNG")
    return out.getvalue()


def _as_mp4(path: Path) -> bytes | None:
    import av

    out = io.BytesIO()
    try:
        with open_container(path) as source, av.open(out, "w", format="mp4") as target:
            film = source.streams.video[0]
            rate = Fraction(film.average_rate or film.guessed_rate or 25)
            stream = None
            for number, frame in enumerate(source.decode(film)):
                shown = _upright(frame)
                if stream is None:
                    stream = target.add_stream("libx264", rate=rate, options={"crf": "28", "threads": "1"})
                    stream.width = min(shown.width, WIDEST) // 2 * 2
                    stream.height = max(shown.height * stream.width // shown.width // 2 * 2, 2)
                    stream.pix_fmt = "yuv420p"
                small = shown.reformat(stream.width, stream.height, "yuv420p")
                small.pts, small.time_base = number, 1 / rate
                target.mux(stream.encode(small))
            if stream is None:
                return None
            target.mux(stream.encode(None))
    except (av.FFmpegError, IndexError, ValueError):
        return None
    return out.getvalue()


def _upright(frame: VideoFrame) -> VideoFrame:
    """Return a frame as it is to be shown: what is written anew has no display matrix that would rotate it."""
    import av
    import numpy as np

    quarters = round(frame.rotation / 90) % 4  # counterclockwise
    if not quarters:
        return frame
    turned_YXC = np.rot90(frame.to_ndarray(format="rgb24"), quarters).astype(np.uint8, order="C")
    return av.VideoFrame.from_ndarray(turned_YXC, format="rgb24")
