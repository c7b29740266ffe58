"""Front ends that replace an encoder's own: tiled, at native size, squashed by nearest pixels, or cropped."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import vlframe

vlframe_api = 1


@dataclass
class TilesParams:
    """Pictures cut into tiles of the encoder's size."""

    max_tiles: int = 6  # per picture, without the overview
    min_tiles: int = 1
    overview: bool = True  # add the whole picture, resized to one tile, if there is more than one
    overview_of_one: bool = False  # add it also if there is one tile
    video_tiles: int = 1  # the most for each frame of a clip; 1: frames of clips are not tiled
    # bytes: Pillow's resampling, rounded | float: torch's bicubic interpolation, not rounded, which takes four times
    # the memory up to the device; the overview is resized from the enlarged picture (VideoChat2-HD)
    arithmetic: str = "bytes"


@dataclass
class NativeParams:
    """Pictures at about their own size, for encoders that take any."""

    min_pixels: int = 32768  # height x width; smaller pictures are enlarged
    max_pixels: int = 262144  # larger ones are reduced


@dataclass
class CentreCropParams:
    """The centre of frames, and another normalisation in training."""

    training_mean: list[float] | None = None  # of red, green and blue during training; null: the encoder's
    training_std: list[float] | None = None
    # A random part of this share of the area, [0.5,1] for example, instead of the centre in training; null: the centre
    training_area: list[float] | None = None
    mirror: float = 0.0  # with training_area: the probability that left and right are swapped


@dataclass
class RandomCropParams:
    """A random part of frames in training (torchvision's RandomResizedCrop); the encoder's own way otherwise."""

    area: list[float] = field(default_factory=lambda: [0.5, 1.0])  # shares of the picture's area
    mirror: float = 0.0  # the probability that left and right are swapped


@vlframe.hookimpl
def vlframe_components() -> Iterator[vlframe.Component]:
    yield vlframe.Component(
        "pixels",
        "tiles",
        "vlframe_pixels.tiles:Tiles",
        TilesParams,
        "tiles in the nearest aspect ratio and an overview (InternVL 1.5), for encoders of a fixed square size",
    )
    yield vlframe.Component(
        "pixels",
        "native",
        "vlframe_pixels.native:Native",
        NativeParams,
        "sides of whole patches, area within bounds, aspect ratio kept, for encoders of any size",
    )
    yield vlframe.Component(
        "pixels",
        "nearest",
        "vlframe_pixels.nearest:Nearest",
        None,
        "the encoder's square, each of its pixels the nearest one of the picture, for encoders of a fixed square size",
    )
    yield vlframe.Component(
        "pixels",
        "centre_crop",
        "vlframe_pixels.centre_crop:CentreCrop",
        CentreCropParams,
        "the centre of frames, cropped as in torchvision, with another normalisation in training if wanted",
    )
    yield vlframe.Component(
        "pixels",
        "random_crop",
        "vlframe_pixels.random_crop:RandomCrop",
        RandomCropParams,
        "a random part of frames in training, the same of all frames of a clip; as without it otherwise",
    )
