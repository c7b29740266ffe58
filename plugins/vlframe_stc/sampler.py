"""Merge non-overlapping windows of time, height and width into one position each.

B batch, T frames, H W patches, D features, E features out, K frames of a window, U windows that differ.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def counts(sizes: tuple[int, ...], stride: list[int], padding: int) -> tuple[int, ...]:
    """Return the number of windows along each axis; a remainder at the end is dropped."""
    return tuple((size + 2 * padding) // step for size, step in zip(sizes, stride, strict=True))


def distinct_windows(frames: int, stride: int, padding: int) -> tuple[Tensor, list[int]]:
    """Find the distinct windows of a clip of equal frames, and the window of each step.

    With equal frames, windows differ only in which of their places are padding. Returns ``real_UK`` (1 for a frame, 0
    for padding) and, for each step of the clip, its row: 8 frames, stride 2, padding 1 are ``[0, 1, 1, 1, 2]``.
    """
    places = range(-padding, frames + padding)
    steps = [
        tuple(0 <= place < frames for place in places[first : first + stride])
        for first in range(0, len(places) - stride + 1, stride)
    ]
    distinct = list(dict.fromkeys(steps))
    return torch.tensor(distinct, dtype=torch.float32), [distinct.index(step) for step in steps]


class ConvSampler(nn.Conv3d):
    """A 3-D convolution whose kernel is its stride."""

    def __init__(self, dim: int, stride: list[int], padding: int) -> None:
        steps, rows, columns = stride
        window = (steps, rows, columns)
        super().__init__(dim, dim, kernel_size=window, stride=window, padding=padding)

    def forward(self, features_BTHWD: Tensor) -> Tensor:
        return super().forward(features_BTHWD.permute(0, 4, 1, 2, 3)).permute(0, 2, 3, 4, 1)

    def still(self, features_BHWD: Tensor, real_UK: Tensor) -> Tensor:
        """Return ``windows_BUHWE`` of one frame that fills the places marked in ``real_UK``."""
        kernel_KEDYX = self.weight.permute(2, 0, 1, 3, 4)
        places_BEHW = F.conv2d(
            features_BHWD.permute(0, 3, 1, 2),
            kernel_KEDYX.flatten(0, 1),
            stride=self.stride[1:],
            padding=self.padding[1:],
        )
        places_BHWKE = places_BEHW.permute(0, 2, 3, 1).unflatten(-1, kernel_KEDYX.shape[:2])
        windows_BUHWE = torch.einsum("uk,bhwke->buhwe", real_UK.to(places_BHWKE), places_BHWKE)
        assert self.bias is not None
        return windows_BUHWE + self.bias


class AverageSampler(nn.Module):
    """The mean of each window; padding counts as zeros."""

    def __init__(self, stride: list[int], padding: int) -> None:
        super().__init__()
        self.stride = stride
        self.padding = padding

    def forward(self, features_BTHWD: Tensor) -> Tensor:
        return _split(features_BTHWD, self.stride, self.padding).mean((2, 4, 6))

    def still(self, features_BHWD: Tensor, real_UK: Tensor) -> Tensor:
        """Return ``windows_BUHWE`` of one frame that fills the places marked in ``real_UK``."""
        frame_BHWD = _split(features_BHWD, self.stride[1:], self.padding).mean((2, 4))
        return torch.einsum("u,bhwd->buhwd", real_UK.mean(1).to(frame_BHWD), frame_BHWD)


def _split(features: Tensor, strides: list[int], padding: int) -> Tensor:
    """Pad the axes between batch and features, crop to whole windows, and split each into ``windows, places``."""
    features = F.pad(features, (0, 0, *[padding] * (2 * len(strides))))
    for axis, stride in reversed(list(enumerate(strides, start=1))):
        whole = features.shape[axis] // stride * stride
        features = features.narrow(axis, 0, whole).unflatten(axis, (-1, stride))
    return features


def build_sampler(name: str, dim: int, stride: list[int], padding: int) -> ConvSampler | AverageSampler:
    return ConvSampler(dim, stride, padding) if name == "conv" else AverageSampler(stride, padding)
