"""Spatial-temporal convolution: RegStage, 3-D sampler, RegStage, readout (VideoLLaMA 2, section 2 and projector.py).

B batch, T frames, H W patches, D features, N tokens, E embedding, U time steps that differ.
"""

from typing import Any

from torch import Tensor, nn

import vlframe
from vlframe_stc.regstage import RegStage
from vlframe_stc.sampler import build_sampler, counts, distinct_windows

SAMPLERS = ("conv", "average")


class STC(nn.Module):
    """All connectors of this family; their rows differ in depth, sampler, stride and padding.

    The parameters have the official names, so a checkpoint only adds the prefix ``model.mm_projector.``. Without
    RegStages (``depth`` 0) the sampler works at the encoder's width and the readout maps to the language model's; the
    official code needs both to be equal.
    """

    expands_images = True

    def __init__(
        self,
        *,
        in_dim: int,
        out_dim: int,
        depth: int,
        hidden: int | None,
        squeeze_ratio: float,
        sampler: str,
        stride: list[int],
        padding: int,
        mlp_depth: int,
    ) -> None:
        super().__init__()
        _check(depth, hidden, squeeze_ratio, sampler, stride, padding, mlp_depth)
        dim = in_dim if depth == 0 else (hidden or out_dim)
        self.stride = list(stride)
        self.padding = padding
        self.s1 = RegStage(in_dim, dim, depth, squeeze_ratio)
        self.sampler = nn.Sequential(build_sampler(sampler, dim, self.stride, padding), nn.SiLU())
        self.s2 = RegStage(dim, dim, depth, squeeze_ratio)
        self.readout = nn.Sequential(nn.Linear(dim, out_dim))
        for _ in range(mlp_depth - 1):
            self.readout.extend([nn.GELU(), nn.Linear(out_dim, out_dim)])

    def tokens(self, grid: vlframe.VideoGrid) -> int:
        """Count the positions after the sampler. With padding 1, 8x24x24 patches become 5x13x13 = 845; without, 576."""
        if grid.sequence:
            raise vlframe.ConfigError(
                f"this connector needs a plane of patches, and the encoder gives a sequence of {grid.width} features a "
                "frame; make the encoder give its patches only, or use a connector for sequences: linear, mlp, qformer"
            )
        steps, height, width = counts((grid.frames, grid.height, grid.width), self.stride, self.padding)
        if 0 in (steps, height, width):
            raise vlframe.ConfigError(
                f"features of {grid} (frames x height x width) hold no window of {'x'.join(map(str, self.stride))} "
                f"with padding {self.padding}; give more frames (media.frames) or a larger image, a smaller "
                "connector.stride, or connector.padding"
            )
        return steps * height * width

    def forward(self, features_BTHWD: Tensor) -> Tensor:
        clips = features_BTHWD.shape[:2]
        features_BTHWD = self.s1(features_BTHWD.flatten(0, 1)).unflatten(0, clips)
        return self._read(self.sampler(features_BTHWD)).flatten(1, 2)

    def still(self, features_BHWD: Tensor, frames: int) -> Tensor:
        """Compute ``forward`` of the image repeated ``frames`` times: one frame, then only the differing time steps."""
        real_UK, rows = distinct_windows(frames, self.stride[0], self.padding)
        window: Any = self.sampler[0]
        activation = self.sampler[1]
        sampled_BUHWD = activation(window.still(self.s1(features_BHWD), real_UK))
        return self._read(sampled_BUHWD)[:, rows].flatten(1, 2)

    def enable_gradient_checkpointing(self) -> None:
        """Recompute the blocks of the RegStages in the backward pass instead of keeping what they gave."""
        self.s1.recompute = self.s2.recompute = True

    def _read(self, sampled_BTHWD: Tensor) -> Tensor:
        """Apply the second RegStage and the readout: ``tokens_BTNE``."""
        clips = sampled_BTHWD.shape[:2]
        return self.readout(self.s2(sampled_BTHWD.flatten(0, 1)).flatten(1, 2)).unflatten(0, clips)


def _check(
    depth: int, hidden: int | None, squeeze_ratio: float, sampler: str, stride: list[int], padding: int, mlp_depth: int
) -> None:
    if sampler not in SAMPLERS:
        raise vlframe.ConfigError(f"connector.sampler={sampler!r} is unknown; there are {', '.join(SAMPLERS)}")
    if len(stride) != 3 or min(stride) < 1:
        raise vlframe.ConfigError(
            f"connector.stride={stride} must be three numbers of at least 1, for time, height and width, like [2,2,2]"
        )
    if depth < 0 or padding < 0 or mlp_depth < 1 or squeeze_ratio <= 0:
        raise vlframe.ConfigError(
            f"connector.depth={depth} and padding={padding} must be at least 0, mlp_depth={mlp_depth} at least 1 and "
            f"squeeze_ratio={squeeze_ratio} above 0"
        )
    if hidden is not None and (depth == 0 or hidden < 1):
        raise vlframe.ConfigError(
            f"connector.hidden={hidden} is the width of the RegStages, a positive number, and depth={depth} says how "
            "many blocks they have; set a depth above 0, or hidden=null"
        )
