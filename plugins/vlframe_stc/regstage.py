"""RegNet stages (Radosavovic et al. 2020) on single frames, as configured in VideoLLaMA 2.

Parameters have the names and shapes of the official checkpoints (timm's RegStage). Features stay channels-last: the
channel LayerNorm then needs no permutation, and the convolutions get PyTorch's channels_last format without a copy. B
frames of all clips, H W patches, D features.
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

EPS = 1e-5  # of every LayerNorm (timm's LayerNormAct2d)


class Conv(nn.Conv2d):
    """A 2-D convolution on channels-last features."""

    def forward(self, features_BHWD: Tensor) -> Tensor:
        return super().forward(features_BHWD.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class ConvNorm(nn.Module):
    """A convolution and a LayerNorm over the channels of each position."""

    def __init__(self, in_dim: int, out_dim: int, kernel: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv = Conv(in_dim, out_dim, kernel, padding=kernel // 2, groups=groups, bias=False)
        self.bn = nn.LayerNorm(out_dim, eps=EPS)

    def forward(self, features_BHWD: Tensor) -> Tensor:
        return self.bn(self.conv(features_BHWD))


class SqueezeExcite(nn.Module):
    """A gate on each channel, computed from the mean of its frame (Hu et al. 2018)."""

    def __init__(self, dim: int, squeezed: int) -> None:
        super().__init__()
        self.fc1 = Conv(dim, squeezed, 1)
        self.fc2 = Conv(squeezed, dim, 1)

    def forward(self, features_BHWD: Tensor) -> Tensor:
        mean_B11D = features_BHWD.mean((1, 2), keepdim=True)
        return features_BHWD * self.fc2(F.silu(self.fc1(mean_B11D))).sigmoid()


class Block(nn.Module):
    """1x1, depthwise 3x3, squeeze-excite, 1x1, and a shortcut that is projected if the width changes."""

    def __init__(self, in_dim: int, out_dim: int, squeeze_ratio: float) -> None:
        super().__init__()
        self.conv1 = ConvNorm(in_dim, out_dim)
        self.conv2 = ConvNorm(out_dim, out_dim, kernel=3, groups=out_dim)
        # The squeezed width depends on the width that enters the block, not the one inside it.
        self.se = SqueezeExcite(out_dim, max(1, round(squeeze_ratio * in_dim)))
        self.conv3 = ConvNorm(out_dim, out_dim)
        self.downsample = ConvNorm(in_dim, out_dim) if in_dim != out_dim else None

    def forward(self, features_BHWD: Tensor) -> Tensor:
        shortcut_BHWD = features_BHWD if self.downsample is None else self.downsample(features_BHWD)
        inner_BHWD = F.silu(self.conv1(features_BHWD))
        inner_BHWD = F.silu(self.conv2(inner_BHWD))
        inner_BHWD = self.conv3(self.se(inner_BHWD))
        return F.silu(inner_BHWD + shortcut_BHWD)


class RegStage(nn.Sequential):
    """Blocks ``b1`` to ``b<depth>``; with ``depth`` 0 it changes nothing."""

    def __init__(self, in_dim: int, out_dim: int, depth: int, squeeze_ratio: float) -> None:
        widths = [in_dim, *[out_dim] * depth]
        blocks = (Block(widths[i], widths[i + 1], squeeze_ratio) for i in range(depth))
        super().__init__(OrderedDict((f"b{i}", block) for i, block in enumerate(blocks, start=1)))
        self.recompute = False  # in the backward pass

    def forward(self, features_BHWD: Tensor) -> Tensor:
        for block in self:
            if self.recompute and torch.is_grad_enabled():
                features_BHWD = checkpoint(block, features_BHWD, use_reentrant=False)
            else:
                features_BHWD = block(features_BHWD)
        return features_BHWD
