"""Reads a media file as training would. Runs in workers."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlframe.contracts.reader import FrameList
from vlframe.contracts.timeline import Timeline
from vlframe.datacheck.cache import Cache
from vlframe.datacheck.survey import Ask
from vlframe.errors import MediaError, NoAudioTrack, UserError, named_line
from vlframe.media.containers import open_container
from vlframe.media.hashing import content_sha256
from vlframe.media.loader import MediaLoader
from vlframe.media.missing import no_such_file
from vlframe.media.pixels import SquarePixels

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from vlframe.config.schema import MediaConfig
    from vlframe.contracts.processor import Processor
    from vlframe.contracts.reader import ClipPath, Reader
    from vlframe.contracts.sample import Media
    from vlframe.contracts.sampler import Sampler


@dataclass(frozen=True)
class Ear:
    """How sound is read without an audio encoder."""

    sampling_rate: int = 16_000
    seconds: float = 600.0

    def features(self, waveform_L: Tensor) -> Tensor:
        return waveform_L[:, None]


# How pictures are read without an encoder.
SMALL = SquarePixels(16, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
ANY: dict[str, Any] = {"video": SMALL, "image": SMALL, "audio": Ear()}


@dataclass(frozen=True)
class FileJob:
    path: ClipPath
    asks: tuple[Ask, ...]


@dataclass(frozen=True)
class Taken:
    """The result of a request. ``shape`` is that of the prepared tensor, with ``tiles`` tiles per frame; ``frames`` and
    ``shown`` are those of its timeline; ``seconds`` is the file's duration. ``problem`` is a kind of finding, or empty;
    ``silent`` means that there is no sound, whatever the policy.
    """

    shape: tuple[int, ...] | None = None
    tiles: int = 1
    frames: tuple[int, ...] = ()
    shown: tuple[float, ...] = ()
    size: tuple[int, int] = (0, 0)  # height and width of the picture
    seconds: float | None = None
    silent: bool = False
    problem: str = ""
    text: str = ""

    @classmethod
    def remembered(cls, values: Mapping[str, Any]) -> Taken:
        """Build from JSON, which has no tuples."""
        known: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
        }
        return cls(**known)

    def timeline(self, media: Media) -> Timeline:
        """Return the timeline that a processor may use."""
        height, width = self.size
        return Timeline(media, self.frames, self.shown, height, width, shape=self.shape)


@dataclass(frozen=True)
class FileResult:
    """The results of one file. ``sha256`` is None if it is not a file. ``new`` are the results to cache, by key.
    ``decoded`` and ``known`` count requests.
    """

    state: str
    sha256: str | None
    taken: dict[Ask, Taken]
    new: dict[str, dict[str, Any]]
    decoded: int
    known: int


@dataclass(eq=False)
class Examiner:
    """Reads what is requested from files, unless the result is cached.

    Only successes are cached: a failure is retried every time.
    """

    reader: Reader
    media: MediaConfig
    front_ends: Mapping[str, Any]
    sampler: Sampler
    processor: Processor | None
    settings: str
    frames_per_step: int = 1
    _loaders: dict[tuple[bool, str], MediaLoader] = field(default_factory=dict, init=False, repr=False)

    def _loader(self, training: bool, missing_audio: str) -> MediaLoader:
        """Return the loader, made at its first use, in the worker that uses it."""
        if (training, missing_audio) not in self._loaders:
            self._loaders[training, missing_audio] = MediaLoader(
                self.reader,
                replace(self.media, missing_audio=missing_audio, cache_mb=0),
                self.front_ends,
                self.sampler,
                processor=self.processor,
                training=training,
                frames_per_step=self.frames_per_step,
            )
        return self._loaders[training, missing_audio]

    @cached_property
    def _cache(self) -> Cache:
        return Cache()  # each worker has its own connection

    def __call__(self, job: FileJob) -> FileResult:
        try:
            state = state_of(job.path)
            sha256 = self._cache.content(job.path, state) or content_sha256(job.path)
        except FileNotFoundError as error:  # of a list of pictures, one of them
            return self._failed(job, "missing_file", no_such_file(Path(error.filename)))
        except (OSError, ValueError) as error:  # ValueError: a name that no file can have
            return self._failed(job, "unreadable_file", getattr(error, "strerror", None) or str(error))
        taken: dict[Ask, Taken] = {}
        new: dict[str, dict[str, Any]] = {}
        found = 0
        for ask in job.asks:
            key = self._key(ask, sha256)
            known = self._cache.taken(key) if key else None
            taken[ask] = Taken.remembered(known) if known else self._take(ask)
            found += known is not None
            if key and not known and taken[ask].problem in ("", "no_sound"):
                new[key] = asdict(taken[ask])
        return FileResult(state, sha256, taken, new, len(job.asks) - found, found)

    def _failed(self, job: FileJob, kind: str, text: str) -> FileResult:
        return FileResult("", None, {ask: Taken(problem=kind, text=text) for ask in job.asks}, {}, 0, 0)

    def _key(self, ask: Ask, sha256: str | None) -> str | None:
        """Return a key of the content, the request and the settings. None if reading again may give a different
        result.
        """
        media = ask.media
        if sha256 is None or (self.processor is not None and not self.processor.repeatable(media)):
            return None
        asked = (
            media.kind,
            media.path.suffix.lower(),
            media.start,
            media.end,
            media.track,
            ask.training,
        )
        return hashlib.sha256(json.dumps([sha256, self.settings, asked]).encode()).hexdigest()

    def _take(self, ask: Ask) -> Taken:
        try:
            return self._read(ask)
        except MediaError as error:
            return Taken(problem="unreadable_file", text=_reason(ask.media.path, error))
        except UserError:
            raise  # the configuration is wrong, not the file
        except Exception as error:  # raised by a reader; it would end a run
            return Taken(problem="unreadable_file", text=named_line(error))

    def _read(self, ask: Ask) -> Taken:
        media, silent = ask.media, False
        try:
            timeline = self._loader(ask.training, "error").timeline(media)
            loaded = self._loader(ask.training, "error").decode(timeline)
        except NoAudioTrack as error:
            if self.media.missing_audio != "silence" or not media.track:
                return Taken(silent=True, problem="no_sound", text=_reason(media.path, error))
            timeline = self._loader(ask.training, "silence").timeline(media)
            loaded, silent = self._loader(ask.training, "silence").decode(timeline), True
        return Taken(
            tuple(loaded.tensor.shape),
            loaded.tiles,
            timeline.frames,
            timeline.seconds,
            (timeline.height, timeline.width),
            self._seconds(ask),
            silent,
        )

    def _seconds(self, ask: Ask) -> float | None:
        """Return the duration of the whole file: of a clip by its frames, of sound by its container's header."""
        if ask.media.kind == "audio":
            assert isinstance(ask.media.path, Path)  # only a clip may be a list of pictures
            return stated_seconds(ask.media.path)
        try:
            reader = self._loader(ask.training, "error").reader  # it has just looked at this file
            return reader.info(ask.media.path).seconds if ask.media.kind == "video" else None
        except MediaError:  # only a processor can read it
            return None


def stated_seconds(path: Path) -> float | None:
    import av

    try:
        with open_container(path) as container:
            return container.duration / av.time_base if container.duration else None
    except (av.FFmpegError, OSError):  # just read by a reader that knows more formats
        return None


def state_of(path: ClipPath) -> str:
    """Return the file's size and modification time."""
    if isinstance(path, FrameList):
        return hashlib.sha256(repr([(str(file), state_of(file)) for file in path]).encode()).hexdigest()
    stat = path.stat()
    return f"{stat.st_size} {stat.st_mtime_ns}"


def _reason(path: ClipPath, error: Exception) -> str:
    return str(error).removeprefix(f"{path}: ")
