"""Loads a file that a conversation refers to: its timeline, then its tensor."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from vlframe.contracts.batch import MediaFile
from vlframe.contracts.modalities import media_kind
from vlframe.contracts.processor import MediaSource
from vlframe.errors import ConfigError, MediaError, PluginError
from vlframe.media.frame_files import file_states
from vlframe.media.known_clips import KnownClips
from vlframe.media.pixels import SquarePixels
from vlframe.media.process import ReaderProcess, guarded
from vlframe.media.recently_used import RecentlyUsed
from vlframe.media.sound import SoundDecoder
from vlframe.media.steps import MOST_FRAMES, filled
from vlframe.media.video import ImageDecoder, VideoDecoder, image_reader
from vlframe.registry.imported import imported, lacks

if TYPE_CHECKING:
    from torch import Tensor

    from vlframe.config.schema import MediaConfig
    from vlframe.contracts.decoder import Decoder
    from vlframe.contracts.processor import Processor
    from vlframe.contracts.reader import Reader
    from vlframe.contracts.sample import Media
    from vlframe.contracts.sampler import Sampler
    from vlframe.contracts.timeline import Timeline

MEGABYTE = 1_000_000
STILL_READER = "PIL"
CONTRACT = "vlframe.contracts.decoder:Decoder"
FIRST_PARTY: Mapping[str, type[Decoder]] = {"video": VideoDecoder, "image": ImageDecoder, "audio": SoundDecoder}


class MediaLoader:
    """Reads media as the configuration says. Raises ``MediaError`` with the path, and nothing else, for a bad file.

    ``front_ends`` has one for each kind of media that the model takes. A ``processor`` reads what it does not leave to
    vlframe, possibly differently in training. ``reader_name`` is the reader's name in errors. Clips are filled to a
    multiple of ``frames_per_step``. With ``media.timeout`` the reader runs in a process that can be killed
    (``vlframe.media.process``). ``limited_by`` is the key that sets the most frames of a clip.
    """

    def __init__(
        self,
        reader: Reader,
        config: MediaConfig,
        front_ends: Mapping[str, Any],
        sampler: Sampler,
        *,
        processor: Processor | None = None,
        training: bool = False,
        reader_name: str | None = None,
        frames_per_step: int = 1,
        limited_by: str = MOST_FRAMES,
    ) -> None:
        self.reader_name = reader_name or type(reader).__name__
        self.reader = guarded(reader, config.timeout, self.reader_name)
        self.clips = KnownClips(self.reader)
        self.config = config
        self.front_ends = dict(front_ends)
        self.sampler = sampler
        self.processor = processor
        self.training = training
        self.frames_per_step = frames_per_step
        self.limited_by = limited_by
        self.cache: RecentlyUsed[Tensor] = RecentlyUsed(config.cache_mb * MEGABYTE, attrgetter("nbytes"))

    def timeline(self, media: Media, seed: tuple[int, ...] = (0,)) -> Timeline:
        """Return what is known of a medium before it is decoded. ``seed`` (the run's, and the sample's position in the
        run) is the only source of randomness.
        """
        import numpy as np

        source = self._source(media)
        with self._named(media), self._one_file():
            timeline = None if self.processor is None else self.processor.timeline(media, source)
            if timeline is not None:
                timeline = filled(timeline, self.frames_per_step)
            else:
                timeline = _decoder(media.kind).timeline(media, source, np.random.default_rng(seed))
        varies = self.training and hasattr(source.front_end, "prepare_to_train")
        return replace(timeline, seed=seed) if varies else timeline

    def decode(self, timeline: Timeline) -> MediaFile:
        """Return the decoded medium, cached if possible. ``NoAudioTrack`` follows ``media.missing_audio``."""
        media = timeline.media
        with self._named(media):
            key = self._key(timeline)
            if self.processor is not None and not self.processor.repeatable(media):
                return MediaFile(media.kind, self._read(timeline), (key, uuid4().int), timeline.tiles)
            tensor = self.cache.get(key)
            if tensor is None:
                tensor = self._read(timeline)
                if timeline.seed is None:  # otherwise it never comes again
                    self.cache.put(key, tensor)
            return MediaFile(media.kind, tensor, key, timeline.tiles)

    def load(self, media: Media) -> MediaFile:
        """Return a medium without requesting its timeline first."""
        return self.decode(self.timeline(media))

    @contextmanager
    def _named(self, media: Media) -> Iterator[None]:
        """Add path and reader to any ``MediaError``."""
        try:
            yield
        except MediaError as error:
            error.path = str(media.path)
            error.reader = STILL_READER if media.kind == "image" else self.reader_name
            raise

    def _one_file(self) -> Any:
        return self.reader.one_file() if isinstance(self.reader, ReaderProcess) else nullcontext()

    def _source(self, media: Media) -> MediaSource:
        if media.kind not in self.front_ends:
            raise ConfigError(
                f"{media.path} is of the kind {media.kind!r} and this model takes {', '.join(self.front_ends)}; choose "
                f"an encoder for it (audio_encoder=… for sound), or leave it out (media.withhold=[{media.kind}])"
            )
        front_end = self.front_ends[media.kind]
        return MediaSource(
            self.clips,
            front_end,
            self.sampler,
            self.config,
            self.training,
            self.frames_per_step,
            self.limited_by,
        )

    def _read(self, timeline: Timeline) -> Tensor:
        media = timeline.media
        source = self._source(media)
        with self._one_file():
            tensor = None if self.processor is None else self.processor.read(timeline, source)
            return _decoder(media.kind).decode(timeline, source) if tensor is None else tensor

    def _key(self, timeline: Timeline) -> Hashable:
        """Return a key of the file, its state, and what is read from it."""
        media = timeline.media
        front_end = self.front_ends.get(media.kind)
        heard = (getattr(front_end, "sampling_rate", None), getattr(front_end, "seconds", None))
        taken = (media.start, media.end, timeline.frames, timeline.seconds, timeline.layout, timeline.seed, *heard)
        return (media.kind, *file_states(media.path), *taken)


def squashed_image(timeline: Timeline, source: MediaSource) -> Tensor | None:
    """Prepare an image for inference, squashed to a square instead of cropped. None, which leaves it to vlframe, for
    other media, in training, for tiles, and for a front end that makes no squares.
    """
    own = getattr(source.front_end, "own", source.front_end)  # the encoder's, if another one replaces it
    if timeline.media.kind != "image" or source.training or timeline.tiles > 1 or not isinstance(own, SquarePixels):
        return None
    return replace(own, resize="squash").prepare(image_reader(source).load_image(timeline.media.path))


def _decoder(kind: str) -> Decoder:
    path = media_kind(kind).decoder
    return FIRST_PARTY[kind]() if path is None else decoder_at(path, kind)


@lru_cache
def decoder_at(path: str, kind: str) -> Decoder:
    """Build the decoder of a plugin's kind of media. PluginError if the path names no class that has what one has."""
    what = f"the decoder of media of the kind {kind!r}"
    decoder: Decoder = imported(path, what)()
    if lacking := lacks(CONTRACT, decoder):
        raise PluginError(f"{what}, {path}, has no {' and no '.join(lacking)}, which every decoder has")
    return decoder
