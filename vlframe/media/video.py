"""Decodes clips and pictures: which frames, their size, and their pixels. T frames, C colours, Y X pixels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlframe.contracts.timeline import Timeline
from vlframe.errors import MediaError
from vlframe.media import images
from vlframe.media.formats import PICTURE_SUFFIXES
from vlframe.media.known_clips import KnownClips
from vlframe.media.process import ReaderProcess
from vlframe.media.steps import chosen_frames

PICTURES = 1  # ends the seed of a draw that varies pictures, beside that of frames

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from vlframe.contracts.grids import PixelLayout
    from vlframe.contracts.processor import MediaSource
    from vlframe.contracts.sample import Media


class VideoDecoder:
    """Decodes clips. Each frame is decoded and prepared once, however often a short clip repeats it."""

    def timeline(self, media: Media, source: MediaSource, generator: np.random.Generator) -> Timeline:
        path = media.path
        if isinstance(path, Path) and _named_like_a_picture(path) and image_reader(source).picture_count(path) == 1:
            raise images.still_image(path)
        info = source.reader.info(path)
        try:
            indices, note = chosen_frames(
                source.sampler,
                info,
                media.start,
                media.end,
                most=source.config.frames,
                step=source.frames_per_step,
                training=source.training,
                generator=generator,
                limited_by=source.limited_by,
            )
        except MediaError as error:
            raise MediaError(f"{path}: {error}") from error
        layout = source.front_end.layout(info.height, info.width, len(indices))
        begin = info.time(0) if media.start is None else max(float(media.start), info.time(0))
        last = info.time(0) + info.seconds
        return Timeline(
            media,
            frames=tuple(indices),
            seconds=tuple(info.time(index) for index in indices),
            height=info.height,
            width=info.width,
            layout=layout,
            duration=max(0.0, (last if media.end is None else min(float(media.end), last)) - begin),
            shape=prepared_shape(len(indices), layout),
            note=note,
        )

    def decode(self, timeline: Timeline, source: MediaSource) -> Tensor:
        """Return uint8 ``frames_TCYX``; with tiles, tile by tile."""
        import torch

        distinct = sorted(set(timeline.frames))
        frames_XCYX = prepared(source.reader.frames(timeline.media.path, distinct), timeline, source)
        if tuple(distinct) == timeline.frames:
            return frames_XCYX
        frames_KTCYX = frames_XCYX.unflatten(0, (timeline.tiles, len(distinct)))
        places = torch.tensor([distinct.index(frame) for frame in timeline.frames])
        return frames_KTCYX[:, places].flatten(0, 1)


class ImageDecoder:
    """Decodes still pictures: T = 1."""

    def timeline(self, media: Media, source: MediaSource, generator: np.random.Generator) -> Timeline:
        height, width = image_reader(source).picture_size(media.path)
        layout = source.front_end.layout(height, width, 1)
        return Timeline(media, height=height, width=width, layout=layout, shape=prepared_shape(1, layout))

    def decode(self, timeline: Timeline, source: MediaSource) -> Tensor:
        """Return uint8 ``frames_TCYX``, T = 1 (or the picture's tiles)."""
        return prepared(image_reader(source).load_image(timeline.media.path), timeline, source)


def prepared(frames_TYXC: np.ndarray, timeline: Timeline, source: MediaSource) -> Tensor:
    """Return what the front end makes of frames, varied at random where it does so in training. One draw is for all
    frames of a clip, and independent of those that chose them.
    """
    if timeline.seed is None:
        found: Tensor = source.front_end.prepare(frames_TYXC)
        return found
    import numpy as np

    generator = np.random.default_rng((*timeline.seed, PICTURES))
    varied: Tensor = source.front_end.prepare_to_train(frames_TYXC, generator)
    return varied


def _named_like_a_picture(path: Path) -> bool:
    return path.suffix.lower() in PICTURE_SUFFIXES and not path.is_dir()


def prepared_shape(frames: int, layout: PixelLayout) -> tuple[int, ...]:
    return (frames * layout.tiles, 3, layout.height, layout.width)


def image_reader(source: MediaSource) -> Any:
    """Return the reader of pictures: in this process, or in the one that can be killed."""
    reader = source.reader.reader if isinstance(source.reader, KnownClips) else source.reader
    return reader if isinstance(reader, ReaderProcess) else images
