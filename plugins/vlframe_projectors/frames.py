"""Connectors that average over time first, as VideoLLaMA 2 does with its linear and MLP projectors.

The order of the frames is lost, and an image gives the same as a clip of equal frames. Any grid is accepted, including
sequences.
B batch, T frames, H W patches, D features, N tokens, E embedding.
"""

from torch import Tensor, nn

import vlframe
from vlframe_projectors.mlp import MLP


class MeanLinear(nn.Linear):
    """One linear map; ``weight`` and ``bias`` are named as in the official checkpoints."""

    expands_images = False

    def __init__(self, *, in_dim: int, out_dim: int) -> None:
        super().__init__(in_dim, out_dim)

    def tokens(self, grid: vlframe.VideoGrid) -> int:
        return grid.height * grid.width

    def forward(self, features_BTHWD: Tensor) -> Tensor:
        return super().forward(features_BTHWD.mean(1).flatten(1, 2))


class MeanMLP(MLP):
    """Averages features over time, then maps each patch with an MLP."""

    expands_images = False

    def __init__(self, *, in_dim: int, out_dim: int, depth: int, hidden: int | None) -> None:
        super().__init__(in_dim, out_dim, depth, hidden)

    def tokens(self, grid: vlframe.VideoGrid) -> int:
        return grid.height * grid.width

    def forward(self, features_BTHWD: Tensor) -> Tensor:
        return super().forward(features_BTHWD.mean(1).flatten(1, 2))
