"""A compact vision transformer over space and time at once: every patch attends to the patches of all frames.

B batch, T frames, C colours, Y X pixels, H W patches, P = H * W, D features.
"""

import torch
from torch import Tensor

from vlframe_vit_tiny.encoder import VitTiny


class VitJointTiny(VitTiny):
    """Patches, a learned position in space and a sinusoid in time, ``depth`` blocks over the whole clip, a last norm.

    Time takes any number of frames. An image is a clip of one frame, at the first time; its features differ from those
    of a clip of equal frames.
    """

    per_frame = False

    def forward(self, pixels_BTCYX: Tensor) -> Tensor:
        """Return ``features_BTHWD``."""
        batch, frames = pixels_BTCYX.shape[:2]
        patches_NDHW = self.patches(pixels_BTCYX.flatten(0, 1).to(self.patches.weight.dtype))
        tokens_BTPD = patches_NDHW.flatten(2).transpose(1, 2).unflatten(0, (batch, frames)) + self.positions_PD
        times_TD = sinusoids(frames, self.dim, tokens_BTPD.device).to(tokens_BTPD.dtype)
        tokens_BTPD = tokens_BTPD + times_TD[:, None]
        features_BND = self.norm(self.blocks(tokens_BTPD.flatten(1, 2)))
        return features_BND.unflatten(1, (frames, self.side, self.side))


def sinusoids(positions: int, dim: int, device: torch.device) -> Tensor:
    """Return float32 ``table_PD``: sines of falling frequency, then cosines (Vaswani et al. 2017, section 3.5)."""
    half = (dim + 1) // 2
    rates_K = 10000 ** -(torch.arange(half, device=device, dtype=torch.float32) / half)
    angles_PK = torch.arange(positions, device=device, dtype=torch.float32)[:, None] * rates_K
    return torch.cat([angles_PK.sin(), angles_PK.cos()], 1)[:, :dim]
