"""ImageBind's vision trunk as an encoder. B batch, T frames, N = B * T, C colours, Y X pixels, E features."""

from __future__ import annotations

from torch import Tensor, nn

from vlframe import ConfigError, SquarePixels, VideoGrid
from vlframe_imagebind.trunk import Trunk

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # CLIP's
COPIES = 2  # patches are two frames deep; a picture is repeated


class ImageBindVision(Trunk):
    """One vector of norm 1 for each frame; the grid is a sequence of one position per frame."""

    per_frame = True

    def __init__(
        self, *, source: str | None, hidden_size: int, intermediate_size: int, num_hidden_layers: int,
        num_attention_heads: int, embed_dim: int, image_size: int, patch_size: int, resize: str,
    ) -> None:  # fmt: skip
        if not 0 < patch_size <= image_size:
            raise ConfigError(f"encoder.image_size is {image_size}; it is at least patch_size={patch_size}")
        if resize not in ("crop", "squash", "pad"):
            raise ConfigError(f"encoder.resize is {resize!r}; it can be crop, squash, pad")
        depth = (COPIES, patch_size, patch_size)
        super().__init__(
            "vision",
            projection=nn.Sequential(Twice(), nn.Conv3d(3, hidden_size, depth, depth, bias=False)),
            patches=(image_size // patch_size) ** 2,
            dim=hidden_size,
            hidden=intermediate_size,
            layers=num_hidden_layers,
            heads=num_attention_heads,
            embed_dim=embed_dim,
            stem_norm=False,
            first_norm=True,
            key_bias=False,
        )
        self.dim = embed_dim
        self.pixels = SquarePixels(image_size, MEAN, STD, "bicubic", resize)
        self.load(source)

    def grid(self, frames: int, height: int, width: int) -> VideoGrid:
        return VideoGrid(frames, 1, 1, sequence=True)

    def forward(self, pixels_BTCYX: Tensor) -> Tensor:
        vectors_NE = self.vectors(pixels_BTCYX.flatten(0, 1))
        return vectors_NE.unflatten(0, pixels_BTCYX.shape[:2])[:, :, None, None]


class Twice(nn.Module):
    def forward(self, pixels_NCYX: Tensor) -> Tensor:
        return pixels_NCYX[:, :, None].expand(-1, -1, COPIES, -1, -1)
