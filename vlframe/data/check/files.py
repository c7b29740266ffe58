"""A media file, read as training would read it. Runs in workers."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from vlframe.contracts import PixelSpec
from vlframe.data.check.cache import Cache
from vlframe.data.check.survey import Ask
from vlframe.errors import MediaError, NoAudioTrack, UserError
from vlframe.media.content import content_sha256
from vlframe.media.loader import MediaLoader

if TYPE_CHECKING:
    from torch import Tensor

    from vlframe.config import MediaConfig
    from vlframe.contracts import AudioSpec, DataProtocol, Reader

SMALL = PixelSpec(16, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))  # where no encoder says how large frames are to be


@dataclass(frozen=True)
class Ear:
    """How sound is read where no audio encoder says it."""

    sampling_rate: int = 16_000
    seconds: float = 600.0

    def features(self, waveform_L: Tensor) -> Tensor:
        return waveform_L[:, None]


@dataclass(frozen=True)
class FileJob:
    path: Path
    asks: tuple[Ask, ...]


@dataclass(frozen=True)
class Taken:
    """What came of an ask. ``length`` is the number of frames, or of front-end frames of sound; ``seconds`` how long
    the file is. ``problem`` is a kind of finding, or empty; ``silent`` a sound that is not there, whatever follows."""

    length: int | None = None
    seconds: float | None = None
    silent: bool = False
    problem: str = ""
    text: str = ""


@dataclass(frozen=True)
class FileResult:
    """``sha256`` is None for what is no file. ``new`` are the results that can be remembered, by their keys.
    ``decoded`` and ``known`` count asks."""

    state: str
    sha256: str | None
    taken: dict[Ask, Taken]
    new: dict[str, dict[str, Any]]
    decoded: int
    known: int


class Examiner:
    """Takes from files what they are asked for, unless the cache knows what came of it.

    Only what could be read is remembered: a failure is tried again every time.
    """

    def __init__(
        self,
        reader: Reader,
        media: MediaConfig,
        pixels: PixelSpec,
        audio: AudioSpec,
        protocol: DataProtocol | None,
        settings: str,
    ) -> None:
        self.reader = reader
        self.media = media
        self.pixels = pixels
        self.audio = audio
        self.protocol = protocol
        self.settings = settings
        self._loaders: dict[tuple[bool, str], MediaLoader] = {}

    def _loader(self, training: bool, missing_audio: str) -> MediaLoader:
        """Made at its first use, in the worker that uses it."""
        if (training, missing_audio) not in self._loaders:
            self._loaders[training, missing_audio] = MediaLoader(
                self.reader,
                OmegaConf.merge(self.media, {"missing_audio": missing_audio, "cache_mb": 0}),
                self.pixels,
                self.audio,
                protocol=self.protocol,
                training=training,
            )
        return self._loaders[training, missing_audio]

    @cached_property
    def _cache(self) -> Cache:
        return Cache()  # a worker's own connection

    def __call__(self, job: FileJob) -> FileResult:
        try:
            state = state_of(job.path)
            sha256 = self._cache.content(job.path, state) or content_sha256(job.path)
        except FileNotFoundError:
            return self._failed(job, "missing_file", "there is no such file")
        except (OSError, ValueError) as error:  # ValueError: a name that no file can have
            return self._failed(job, "unreadable_file", getattr(error, "strerror", None) or str(error))
        taken: dict[Ask, Taken] = {}
        new: dict[str, dict[str, Any]] = {}
        found = 0
        for ask in job.asks:
            key = self._key(ask, sha256)
            known = self._cache.taken(key) if key else None
            taken[ask] = Taken(**known) if known else self._take(ask)
            found += known is not None
            if key and not known and taken[ask].problem in ("", "no_sound"):
                new[key] = asdict(taken[ask])
        return FileResult(state, sha256, taken, new, len(job.asks) - found, found)

    def _failed(self, job: FileJob, kind: str, text: str) -> FileResult:
        return FileResult("", None, {ask: Taken(problem=kind, text=text) for ask in job.asks}, {}, 0, 0)

    def _key(self, ask: Ask, sha256: str | None) -> str | None:
        """Content, what is taken of it, and how. None where reading again may give something else."""
        media = ask.media
        if sha256 is None or (self.protocol is not None and not self.protocol.repeatable(media)):
            return None
        asked = (media.kind, media.path.suffix.lower(), media.start, media.end, media.track, ask.training)
        return hashlib.sha256(json.dumps([sha256, self.settings, asked]).encode()).hexdigest()

    def _take(self, ask: Ask) -> Taken:
        try:
            return self._read(ask)
        except MediaError as error:
            return Taken(problem="unreadable_file", text=_reason(ask.media.path, error))
        except UserError:
            raise  # the configuration is wrong, not the file
        except Exception as error:  # a reader's; a run would end with it
            return Taken(problem="unreadable_file", text=f"{type(error).__name__}: {error}")

    def _read(self, ask: Ask) -> Taken:
        media, silent = ask.media, False
        try:
            loaded = self._loader(ask.training, "error").load(media)
        except NoAudioTrack as error:
            if self.media.missing_audio != "silence" or not media.track:
                return Taken(silent=True, problem="no_sound", text=_reason(media.path, error))
            loaded, silent = self._loader(ask.training, "silence").load(media), True
        return Taken(len(loaded.tensor), self._seconds(ask), silent)

    def _seconds(self, ask: Ask) -> float | None:
        """How long the whole file is: a clip by its frames, a sound by what its container says."""
        if ask.media.kind == "audio":
            return stated_seconds(ask.media.path)
        try:
            reader = self._loader(ask.training, "error").reader  # it has just looked at this file
            return reader.info(ask.media.path).seconds if ask.media.kind == "video" else None
        except MediaError:  # of a kind that only a protocol reads
            return None


def stated_seconds(path: Path) -> float | None:
    import av

    try:
        with av.open(f"file:{path}", options={"protocol_whitelist": "file"}, metadata_errors="ignore") as container:
            return container.duration / av.time_base if container.duration else None
    except (av.FFmpegError, OSError):  # it was just read, by something that knows more formats
        return None


def state_of(path: Path) -> str:
    """Size and time of change."""
    stat = path.stat()
    return f"{stat.st_size} {stat.st_mtime_ns}"


def _reason(path: Path, error: Exception) -> str:
    return str(error).removeprefix(f"{path}: ")
