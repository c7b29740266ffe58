"""Video-ChatGPT's connector (video_chatgpt/inference.py, get_spatio_temporal_features_torch).

B batch, T frames, H W patches, D features, N tokens, E embedding.
"""

import torch
from torch import Tensor, nn

from vlframe import ConfigError, VideoGrid


class MeanPools(nn.Module):
    """The mean of each frame, padded with zeros to ``temporal``, then the mean of each position; a linear map.

    The zeros become the bias of the map, and the language model attends to them. Any grid is accepted, also sequences.
    An image is a clip of one frame.
    """

    expands_images = False

    def __init__(self, *, in_dim: int, out_dim: int, temporal: int) -> None:
        super().__init__()
        if temporal < 1:
            raise ConfigError(f"connector.temporal is {temporal}; it must be at least 1")
        self.temporal = temporal
        self.projector = nn.Linear(in_dim, out_dim)

    def tokens(self, grid: VideoGrid) -> int:
        """Return N: 100 + 256 = 356 for up to 100 frames of 16x16 patches."""
        if grid.frames > self.temporal:
            raise ConfigError(
                f"connector mean_pools has tokens for {self.temporal} frames, and a clip has {grid.frames}; set "
                f"connector.temporal to at least {grid.frames}, or take fewer media.frames"
            )
        return self.temporal + grid.height * grid.width

    def pool(self, features_BTHWD: Tensor) -> Tensor:
        """Return the means, before the linear map: ``pooled_BND``."""
        missing = self.temporal - features_BTHWD.shape[1]
        frames_BTD = nn.functional.pad(features_BTHWD.flatten(2, 3).mean(2), (0, 0, 0, missing))
        return torch.cat([frames_BTD, features_BTHWD.mean(1).flatten(1, 2)], 1)

    def forward(self, features_BTHWD: Tensor) -> Tensor:
        return self.projector(self.pool(features_BTHWD))
