"""A third modality from outside the core: depth maps from 16-bit PNG files."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

import vlframe

SIDE, PATCH, DIM = 16, 4, 8


class DepthFrontEnd:
    def prepare(self, path: Path) -> Tensor:
        with Image.open(path) as picture:
            metres_YX = np.asarray(picture.resize((SIDE, SIDE)), np.float32) / 1000
        return torch.from_numpy(metres_YX)[None]


class DepthDecoder:
    def timeline(self, media, source, generator):
        return vlframe.Timeline(media, shape=(1, SIDE, SIDE))

    def decode(self, timeline, source) -> Tensor:
        return source.front_end.prepare(timeline.media.path)


class DepthEncoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.dim, self.front_end = DIM, DepthFrontEnd()
        self.patches = nn.Conv2d(1, DIM, PATCH, PATCH)

    def forward(self, maps_B1YX: Tensor) -> Tensor:
        return self.patches(maps_B1YX).flatten(2).transpose(1, 2)


class DepthConnector(nn.Linear):
    def __init__(self, *, in_dim: int, out_dim: int) -> None:
        super().__init__(in_dim, out_dim)


class DepthBranch(vlframe.Branch):
    front_end = property(lambda self: self.encoder.front_end)

    def tokens(self, kind: str, shape: tuple[int, ...], tiles: int = 1) -> int:
        return (SIDE // PATCH) ** 2


@vlframe.hookimpl
def vlframe_modalities():
    kind = vlframe.MediaKind("depth", -300, "depth_maps:DepthDecoder")
    yield vlframe.Modality("depth", (kind,), "depth_encoder", "depth_connector", "depth_maps:DepthBranch")


@vlframe.hookimpl
def vlframe_components():
    yield vlframe.Component("depth_encoder", "depth_tiny", "depth_maps:DepthEncoder", None, "patches of a depth map")
    yield vlframe.Component("depth_connector", "linear", "depth_maps:DepthConnector", None, "one linear map")
