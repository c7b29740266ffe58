"""A small connector that is right, for classes that are wrong in one thing."""

from torch import Tensor, nn

import vlframe


class Sound(nn.Module):
    """A mean over frames and a linear map."""

    expands_images = False

    def __init__(self, *, in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.map = nn.Linear(in_dim, out_dim)

    def tokens(self, grid: vlframe.VideoGrid) -> int:
        return grid.height * grid.width

    def mean(self, features_BTHWD: Tensor) -> Tensor:
        return features_BTHWD.mean(1).flatten(1, 2)

    def forward(self, features_BTHWD: Tensor) -> Tensor:
        return self.map(self.mean(features_BTHWD))
