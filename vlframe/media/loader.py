"""From a file a conversation points at to what a data worker hands over.

Names carry shapes: T frames, C colours, Y X pixels, L waveform samples, F audio frames, M audio features.
"""

from __future__ import annotations

from collections.abc import Hashable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from vlframe.contracts import AudioSpec, DataProtocol, MediaSource, PixelSpec, Reader
from vlframe.data.sample import Media, MediaKind
from vlframe.errors import ConfigError, MediaError, NoAudioTrack
from vlframe.media import images
from vlframe.media.cache import TensorCache
from vlframe.media.process import ReaderProcess, guarded
from vlframe.media.sampling import check_sampling, sample_indices

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from vlframe.config import MediaConfig

MISSING_AUDIO = ("error", "drop", "silence")
MEGABYTE = 1_000_000
STILL_READER = "PIL"


@dataclass(frozen=True)
class Loaded:
    """One item of media. ``tensor`` is uint8 ``frames_TCYX`` of a video or an image (T = 1), still to be normalised, or
    float32 ``features_FM`` of sound. Equal ``key``: equal content, so it need be encoded only once. Read only.
    """

    kind: MediaKind
    tensor: Tensor
    key: Hashable


class MediaLoader:
    """Reads media as the configuration says. Raises ``MediaError`` with the path, and nothing else, for a bad file.

    ``audio`` is None for a model that does not hear. A ``protocol`` reads what it does not leave to vlframe; it may do
    so in another way when the model is trained. ``reader_name`` is what errors call the reader. With ``media.timeout``
    the reader works in a process that can be killed (``vlframe.media.process``).
    """

    def __init__(
        self,
        reader: Reader,
        config: MediaConfig,
        pixels: PixelSpec,
        audio: AudioSpec | None,
        *,
        protocol: DataProtocol | None = None,
        training: bool = False,
        reader_name: str | None = None,
    ) -> None:
        check_sampling(config)
        if config.missing_audio not in MISSING_AUDIO:
            raise ConfigError(f"media.missing_audio is {config.missing_audio!r}; it can be {', '.join(MISSING_AUDIO)}")
        self.reader_name = reader_name or type(reader).__name__
        self.reader = guarded(reader, config.timeout, self.reader_name)
        self.config = config
        self.pixels = pixels
        self.audio = audio
        self.protocol = protocol
        self.training = training
        self.cache = TensorCache(config.cache_mb * MEGABYTE)

    def load(self, media: Media) -> Loaded:
        """The media, from the cache if it is there. ``NoAudioTrack`` follows ``media.missing_audio``.

        A ``MediaError`` knows its path and reader.
        """
        try:
            return self._load(media)
        except MediaError as error:
            error.path = str(media.path)
            error.reader = STILL_READER if media.kind == "image" else self.reader_name
            raise

    def _load(self, media: Media) -> Loaded:
        key = self._key(media)
        if self.protocol is not None and not self.protocol.repeatable(media):
            return Loaded(media.kind, self._read(media), (key, uuid4().int))
        tensor = self.cache.get(key)
        if tensor is None:
            tensor = self._read(media)
            self.cache.put(key, tensor)
        return Loaded(media.kind, tensor, key)

    def _read(self, media: Media) -> Tensor:
        with self.reader.one_file() if isinstance(self.reader, ReaderProcess) else nullcontext():
            return self._decode(media)

    @property
    def _images(self) -> Any:
        return self.reader if isinstance(self.reader, ReaderProcess) else images

    def _decode(self, media: Media) -> Tensor:
        if self.protocol is not None:
            source = MediaSource(self.reader, self.pixels, self.audio, self.config, self.training)
            tensor = self.protocol.read(media, source)
            if tensor is not None:
                return tensor
        return {"video": self._video, "image": self._image, "audio": self._audio}[media.kind](media)

    def _key(self, media: Media) -> Hashable:
        """File, its state, and what is taken from it."""
        try:
            stat = Path(media.path).stat()
        except OSError as error:
            raise MediaError(f"{media.path}: {error.strerror}") from error
        taken: tuple[Hashable, ...] = ()
        if media.kind == "video":
            config = self.config
            taken = (media.start, media.end, config.sampling, config.frames, config.fps)
        elif media.kind == "audio":
            spec = self._hearing(media)
            taken = (media.start, media.end, spec.sampling_rate, spec.seconds)
        return (media.kind, str(media.path), stat.st_mtime_ns, stat.st_size, *taken)

    def _video(self, media: Media) -> Tensor:
        """uint8 ``frames_TCYX``. Each frame is decoded and resized once, however often a short clip repeats it."""
        if media.path.suffix.lower() in images.STILL_SUFFIXES and self._images.picture_count(media.path):
            raise MediaError(f"{media.path}: this is a still image; ask about it with <image>, not <video>")
        info = self.reader.info(media.path)
        try:
            indices = sample_indices(info, self.config, media.start, media.end)
        except MediaError as error:
            raise MediaError(f"{media.path}: {error}") from error
        distinct = sorted(set(indices))
        frames_TCYX = self.pixels.resize(self.reader.frames(media.path, distinct))
        return frames_TCYX if distinct == indices else frames_TCYX[[distinct.index(index) for index in indices]]

    def _image(self, media: Media) -> Tensor:
        """uint8 ``frames_TCYX``, T = 1."""
        return self.pixels.resize(self._images.load_image(media.path))

    def _audio(self, media: Media) -> Tensor:
        """float32 ``features_FM`` of at most ``audio.seconds``."""
        import torch

        spec = self._hearing(media)
        begin = max(media.start or 0.0, 0.0)
        end = begin + spec.seconds if media.end is None else min(media.end, begin + spec.seconds)
        try:
            waveform_L = self.reader.audio(media.path, spec.sampling_rate, media.start, end)
        except NoAudioTrack:
            if not media.track or self.config.missing_audio != "silence":
                raise
            waveform_L = self._silence(media, spec)
        return spec.features(torch.from_numpy(waveform_L[: round(spec.seconds * spec.sampling_rate)]))

    def _silence(self, media: Media, spec: AudioSpec) -> np.ndarray:
        """Zeros for as long as the video lasts."""
        import numpy as np

        begin = max(media.start or 0.0, 0.0)
        end = self.reader.info(media.path).seconds
        end = end if media.end is None else min(media.end, end)
        if not begin < end:
            raise MediaError(f"{media.path}: nothing lies between start={media.start} and end={media.end}")
        return np.zeros(max(1, round(min(end - begin, spec.seconds) * spec.sampling_rate)), np.float32)

    def _hearing(self, media: Media) -> AudioSpec:
        if self.audio is None:
            raise ConfigError(f"{media.path} is sound and this model has no audio branch; choose an audio_encoder")
        return self.audio
