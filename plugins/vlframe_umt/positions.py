"""UMT's position table: sinusoids over four frames, stretched over others (models/blip2/vit.py).

T frames, H W patches, N = T * H * W positions, D features.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import interpolate

FRAMES = 4  # of the clips that UMT was pretrained on
SIZE, SIDE = 224, 14  # pixels and patches of a side of their frames


@lru_cache(maxsize=32)
def positions(frames: int, side: int, image_size: int, dim: int, device: torch.device) -> Tensor:
    """Return float32 ``table_ND`` for ``frames`` x ``side`` x ``side`` patches; kept, to be sent to a device once.

    The pretrained table numbers the patches of four frames in reading order; other lengths are interpolated from it
    along time. An image has the numbers of one frame. Where pictures have another size than in pretraining, its 14 x 14
    patches are interpolated first; of its own size the table is made for the patches there are.
    """
    with torch.inference_mode(False):
        own = image_size == SIZE
        made = 1 if frames == 1 else FRAMES
        here = side if own else SIDE
        table_ND = sinusoids(made * here * here, dim)
        if here != side:
            planes_TDHW = table_ND.view(made, here, here, dim).permute(0, 3, 1, 2)
            planes_TDHW = interpolate(planes_TDHW, size=(side, side), mode="bicubic", align_corners=False)
            table_ND = planes_TDHW.permute(0, 2, 3, 1).reshape(-1, dim)
        if frames != made:
            lines_PDT = table_ND.view(made, side * side, dim).permute(1, 2, 0)
            table_ND = interpolate(lines_PDT, size=frames, mode="linear").permute(2, 0, 1).reshape(-1, dim)
        return table_ND.contiguous().to(device)


def sinusoids(count: int, dim: int) -> Tensor:
    """Return float32 ``table_ND`` on the CPU: feature 2i is a sine and 2i + 1 a cosine of n / 10000 ^ (2i / dim)."""
    even_D = torch.arange(dim, device="cpu", dtype=torch.float64) // 2 * 2
    angles_ND = torch.arange(count, device="cpu", dtype=torch.float64)[:, None] / 10000 ** (even_D / dim)
    table_ND = angles_ND.sin()
    table_ND[:, 1::2] = angles_ND[:, 1::2].cos()
    return table_ND.float()
