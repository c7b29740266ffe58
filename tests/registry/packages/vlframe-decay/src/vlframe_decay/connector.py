"""B batch, T frames, H W patches, D features, N tokens, E embedding."""

import torch
from torch import Tensor, nn

import vlframe


class Decay(nn.Module):
    expands_images = False

    def __init__(self, *, in_dim: int, out_dim: int, half_life: int) -> None:
        super().__init__()
        self.half_life = half_life
        self.readout = nn.Linear(in_dim, out_dim)

    def tokens(self, grid: vlframe.VideoGrid) -> int:
        return grid.height * grid.width

    def forward(self, features_BTHWD: Tensor) -> Tensor:
        ages_T = torch.arange(features_BTHWD.shape[1] - 1, -1, -1, device=features_BTHWD.device)
        weights_T = (0.5 ** (ages_T / self.half_life)).to(features_BTHWD.dtype)
        average_BHWD = torch.einsum("bthwd,t->bhwd", features_BTHWD, weights_T / weights_T.sum())
        return self.readout(average_BHWD.flatten(1, 2))
