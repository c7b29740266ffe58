"""A branch: encoder followed by connector, for one modality.

B batch, K tiles, T frames, C colours, Y X pixels, H W patches, D features, F audio frames, M audio features, A audio
steps, N media tokens, E embedding, I instruction tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from vlframe.contracts.declared import grid_of, steps_of, tokens_of
from vlframe.contracts.grids import TYPICAL
from vlframe.errors import ConfigError

if TYPE_CHECKING:
    from vlframe.contracts.batch import MediaFile
    from vlframe.contracts.front_ends import PixelFrontEnd, TextFrontEnd
    from vlframe.contracts.grids import VideoGrid


T = TypeVar("T")


class Trial(NamedTuple):
    """A prepared tensor to try parts with: its kind of media, shape and type, and a description."""

    kind: str
    shape: tuple[int, ...]
    what: str
    tiles: int = 1
    dtype: torch.dtype = torch.float32


class Features(NamedTuple):
    """An encoder's output for one file: ``values_K`` has a row for each of its K tiles, features_THWD or _AD.
    ``seconds_T`` are those of its frames, for a connector that reads them.
    """

    kind: str
    values_K: Tensor
    seconds_T: Tensor | None = None


class Branch(nn.Module):
    """Encoder followed by connector. Items of one shape run together; subclasses interpret shapes."""

    # Modules that follow a contract, checked when they are built.
    encoder: Any
    connector: Any

    def __init__(self, encoder: nn.Module, connector: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.connector = connector

    @property
    def front_end(self) -> Any:
        """Return the front end that prepares this modality's media in data workers."""
        raise NotImplementedError(f"{type(self).__name__} has no front_end")

    @property
    def instruction(self) -> TextFrontEnd | None:
        """Return the front end of the instruction, for a connector that reads one."""
        return getattr(self.connector, "instruction", None)

    @property
    def captions(self) -> TextFrontEnd | None:
        """Return the front end of captions, for a connector that compares media with them."""
        return getattr(self.connector, "captions", None)

    @property
    def reads_seconds(self) -> bool:
        """Return whether the connector reads when each frame is shown."""
        return bool(getattr(self.connector, "reads_seconds", False))

    def tokens(self, kind: str, shape: tuple[int, ...], tiles: int = 1) -> int:
        """Return N for an item whose prepared tensor has this shape, as declared by the parts."""
        raise NotImplementedError(f"{type(self).__name__} counts no tokens")

    def trials(self) -> Iterator[Trial]:
        """Yield the trials that parts are checked with in a plan; none by default."""
        yield from ()

    def feature_shape(self, kind: str, shape: tuple[int, ...], tiles: int = 1) -> tuple[int, ...]:
        """Return the shape of one tile's features, as declared by the encoder. Used with ``trials``."""
        raise NotImplementedError(f"{type(self).__name__} has trials() and no feature_shape()")

    def to_encode(self, file: MediaFile) -> MediaFile:
        """Return what is encoded for a file whose frames may be wanted in another order: the file itself, here."""
        return file

    def encode(self, files: Sequence[MediaFile]) -> list[Features]:
        """Run the encoder once on each file. A frozen encoder builds no autograd graph; later modules still may."""

        def run(group: Sequence[MediaFile]) -> list[Tensor]:
            stacked = torch.stack([file.tensor for file in group])
            with torch.set_grad_enabled(torch.is_grad_enabled() and is_trained(self.encoder)):
                return list(self.features(stacked, group[0].tiles))

        values = grouped(files, lambda file: (*file.tensor.shape, file.tiles), run)
        return [Features(file.kind, value_K, file.seconds_T) for file, value_K in zip(files, values, strict=True)]

    def connect(self, features: Sequence[Features], instructions: Sequence[Tensor | None]) -> list[Tensor]:
        """Return tokens_NE for each item; the tokens of a file's tiles are concatenated."""

        def run(group: Sequence[tuple[Features, Tensor | None]]) -> list[Tensor]:
            values_BK = torch.stack([item.values_K for item, _ in group])
            tiles = values_BK.shape[1]
            instruction_XI = _for_each_tile([ids_I for _, ids_I in group], tiles)
            seconds_XT = _for_each_tile([item.seconds_T for item, _ in group], tiles)
            tokens_XNE = self.media_tokens(group[0][0].kind, values_BK.flatten(0, 1), instruction_XI, seconds_XT)
            return list(tokens_XNE.unflatten(0, values_BK.shape[:2]).flatten(1, 2))

        def shape(item: tuple[Features, Tensor | None]) -> Hashable:
            beside = [None if tensor is None else tensor.shape[0] for tensor in (item[1], item[0].seconds_T)]
            return (item[0].kind, *item[0].values_K.shape, *beside)

        return grouped(list(zip(features, instructions, strict=True)), shape, run)

    def features(self, stacked: Tensor, tiles: int) -> Tensor:
        """Return the features of prepared tensors of one shape: ``values_BK``."""
        return self.encoder(stacked)[:, None]

    def media_tokens(
        self, kind: str, features_X: Tensor, instruction_XI: Tensor | None = None, seconds_XT: Tensor | None = None
    ) -> Tensor:
        """Return tokens_XNE for features of one shape (X rows: tiles of files), with the connector's other inputs."""
        instruction = () if instruction_XI is None else (instruction_XI,)
        seconds = {} if seconds_XT is None else {"seconds_BT": seconds_XT}
        return self.connector(features_X, *instruction, **seconds)


class VideoBranch(Branch):
    """The branch for frames: clips, and images, which are T = 1.

    ``frames`` is the length of the clip that an image represents if the connector expands images. ``pixels`` replaces
    the encoder's own front end.
    """

    def __init__(
        self, encoder: nn.Module, connector: nn.Module, *, frames: int, pixels: PixelFrontEnd | None = None
    ) -> None:
        super().__init__(encoder, connector)
        self.frames = frames
        self.pixels: PixelFrontEnd = self.encoder.pixels if pixels is None else pixels

    @property
    def front_end(self) -> PixelFrontEnd:
        return self.pixels

    @property
    def frames_per_step(self) -> int:
        """Return how many frames of a clip the encoder joins in one time step."""
        return int(getattr(self.encoder, "frames_per_step", 1))

    def to_encode(self, file: MediaFile) -> MediaFile:
        """Return the file with its frames as they are if each is encoded by itself, so that the features are put in
        order afterwards; otherwise with its frames in the order that is wanted.
        """
        if file.order is None:
            return file
        if self.encoder.per_frame and self.frames_per_step == 1:
            return replace(file, order=None)
        frames_KTCYX = file.tensor.unflatten(0, (file.tiles, -1))
        return replace(file, tensor=frames_KTCYX[:, list(file.order)].flatten(0, 1))

    def grid(self, kind: str, shape: tuple[int, ...], tiles: int = 1) -> VideoGrid:
        """Return the grid of each tile that the connector receives."""
        frames, height, width = shape[0] // tiles, shape[-2], shape[-1]
        if kind == "image" and self.connector.expands_images:
            if not self.encoder.per_frame:
                raise ConfigError(
                    "this connector shows an image to the language model as a clip of equal frames, and this encoder "
                    "encodes the frames of a clip jointly, so that an image and a clip of its copies give different "
                    "features; use a connector that takes an image as one frame (expands_images is False), a per-frame "
                    "encoder, or no images (media.withhold=[image])"
                )
            frames = self.frames
        return grid_of(self.encoder, frames, height, width)

    def tokens(self, kind: str, shape: tuple[int, ...], tiles: int = 1) -> int:
        return tiles * tokens_of(self.connector, self.grid(kind, shape, tiles))

    def feature_shape(self, kind: str, shape: tuple[int, ...], tiles: int = 1) -> tuple[int, ...]:
        """Return the encoder's output shape: an image is T = 1, whatever the connector makes of it."""
        grid = grid_of(self.encoder, shape[0] // tiles, shape[-2], shape[-1])
        return (grid.frames, grid.height, grid.width, self.encoder.dim)

    def trials(self) -> Iterator[Trial]:
        """Yield clips and images of typical sizes; of the first size also shorter clips, which a sampler may return."""
        tried, step = set(), self.frames_per_step
        shorter = sorted({self.frames // 2 // step * step, step} - {0, self.frames}, reverse=True)
        clips = [("video", self.frames, size) for size in TYPICAL] + [("video", count, TYPICAL[0]) for count in shorter]
        for kind, count, size in [*clips, *(("image", 1, size) for size in TYPICAL)]:
            layout = self.pixels.layout(*size, count)
            if (kind, count, layout) in tried:
                continue
            tried.add((kind, count, layout))
            shape = (count * layout.tiles, 3, layout.height, layout.width)
            tiles = f"{layout.tiles} tiles of " if layout.tiles > 1 else ""
            media = "an image" if kind == "image" else f"{count} frame{'s' * (count > 1)}"
            yield Trial(
                kind, shape, f"{media} of {tiles}{layout.width}x{layout.height} pixels", layout.tiles, torch.uint8
            )

    def features(self, stacked: Tensor, tiles: int) -> Tensor:
        """Encode the frames of B files, ``stacked_B(KT)CYX`` -> ``features_BKTHWD``. Each tile is a separate clip."""
        frames_XTCYX = stacked.unflatten(1, (tiles, -1)).flatten(0, 1)
        normalise = self.pixels.normalise
        if self.training:
            normalise = getattr(self.pixels, "normalise_to_train", normalise)
        features_XTHWD = self.encoder(normalise(frames_XTCYX))
        return features_XTHWD.unflatten(0, (len(stacked), tiles))

    def media_tokens(
        self, kind: str, features_X: Tensor, instruction_XI: Tensor | None = None, seconds_XT: Tensor | None = None
    ) -> Tensor:
        """Run the connector; if it wants a clip, the features of an image, encoded once, are repeated."""
        if seconds_XT is not None:
            seconds_XT = of_steps(seconds_XT, features_X.shape[1])
        if kind != "image" or not self.connector.expands_images:
            return super().media_tokens(kind, features_X, instruction_XI, seconds_XT)
        if hasattr(self.connector, "still") and instruction_XI is None and seconds_XT is None:
            return self.connector.still(features_X[:, 0], self.frames)
        expanded_XTHWD = features_X.expand(-1, self.frames, -1, -1, -1)
        if seconds_XT is not None:
            seconds_XT = seconds_XT.expand(-1, self.frames)
        return super().media_tokens(kind, expanded_XTHWD, instruction_XI, seconds_XT)


class AudioBranch(Branch):
    """The branch for sound: front-end features_FM -> features_AD -> tokens_NE."""

    @property
    def front_end(self) -> Any:
        return self.encoder.audio

    def tokens(self, kind: str, shape: tuple[int, ...], tiles: int = 1) -> int:
        return tokens_of(self.connector, steps_of(self.encoder, shape[0]))

    def feature_shape(self, kind: str, shape: tuple[int, ...], tiles: int = 1) -> tuple[int, ...]:
        return (steps_of(self.encoder, shape[0]), self.encoder.dim)

    def trials(self) -> Iterator[Trial]:
        """Yield the longest sound and one of a second."""
        front_end = self.front_end
        for seconds in dict.fromkeys((front_end.seconds, min(1.0, front_end.seconds))):
            silence_L = torch.zeros(int(seconds * front_end.sampling_rate), device="cpu")
            yield Trial("audio", tuple(front_end.features(silence_L).shape), f"{seconds:g} s of sound")


def in_order(features: Features, order: Sequence[int] | None) -> Features:
    """Put the time steps of a file's features in another order; the times at which they are shown stay."""
    return features if order is None else features._replace(values_K=features.values_K[:, list(order)])


def of_steps(seconds_XT: Tensor, steps: int) -> Tensor:
    """Return the time in seconds of each time step of the features: the mean of the frames that the encoder
    joins in it.
    """
    frames = seconds_XT.shape[1]
    if frames % steps:
        raise ConfigError(
            f"the connector reads when each time step is shown, and the encoder makes {steps} of {frames} frames; "
            f"choose media.frames as a multiple of the steps, or a connector that does not read seconds"
        )
    return seconds_XT.unflatten(1, (steps, frames // steps)).mean(2)


def _for_each_tile(rows_B: Sequence[Tensor | None], tiles: int) -> Tensor | None:
    """Stack the rows that accompany B files, once per tile; None if there are none."""
    there = [row for row in rows_B if row is not None]
    return torch.stack(there).repeat_interleave(tiles, 0) if there else None


def is_trained(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())


def grouped(
    items: Sequence[T], key: Callable[[T], Hashable], run: Callable[[Sequence[T]], Sequence[Tensor]]
) -> list[Tensor]:
    """Run items with equal keys together; return the results in the order of the items."""
    groups: dict[Hashable, list[int]] = {}
    for number, item in enumerate(items):
        groups.setdefault(key(item), []).append(number)
    results: dict[int, Tensor] = {}
    for numbers in groups.values():
        results.update(zip(numbers, run([items[number] for number in numbers]), strict=True))
    return [results[number] for number in range(len(items))]
