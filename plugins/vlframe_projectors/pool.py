"""Average features to a small grid over time, height and width, and read each position with an MLP.

B batch, T frames, H W patches, D features, N tokens, E embedding.
"""

import torch
from torch import Tensor, nn

import vlframe
from vlframe_projectors.mlp import MLP


class Pool(nn.Module):
    """Adaptive average pooling. Each axis ends with min(target, its size); a sequence is an axis of height 1."""

    expands_images = False

    def __init__(
        self, *, in_dim: int, out_dim: int, frames: int, height: int, width: int, depth: int, hidden: int | None
    ) -> None:
        super().__init__()
        if min(frames, height, width) < 1:
            raise vlframe.ConfigError(
                f"connector pool cannot average to frames={frames}, height={height}, width={width}; each is at least 1"
            )
        self.target = (frames, height, width)
        self.readout = MLP(in_dim, out_dim, depth, hidden)

    def tokens(self, grid: vlframe.VideoGrid) -> int:
        """Return N. With the default 4x4x4, a clip of 8x24x24 gives 64 tokens and an image 1x4x4 = 16."""
        frames, height, width = self.target
        return min(frames, grid.frames) * min(height, grid.height) * min(width, grid.width)

    def forward(self, features_BTHWD: Tensor) -> Tensor:
        # One matrix product per axis gives the values of adaptive_avg_pool3d, whose CUDA gradient varies between runs.
        averaged = features_BTHWD
        for axis, target in enumerate(self.target, start=1):
            means_IJ = averaging(averaged.shape[axis], target, averaged)
            averaged = torch.tensordot(means_IJ, averaged, ([1], [axis])).movedim(0, axis)
        return self.readout(averaged.flatten(1, 3))


def averaging(size: int, target: int, like: Tensor) -> Tensor:
    """Return ``means_IJ``: row i of n = min(target, size) averages floor(i*size/n) to ceil((i+1)*size/n), exclusive."""
    count = min(target, size)
    row = torch.arange(count, device=like.device)[:, None]
    column = torch.arange(size, device=like.device)
    inside = (column >= row * size // count) & (column * count < (row + 1) * size)
    return (inside / inside.sum(1, keepdim=True)).to(like.dtype)
