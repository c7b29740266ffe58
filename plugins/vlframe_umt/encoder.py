"""UMT's encoder (video_chat2/models/blip2/vit.py, PretrainVisionTransformer) by transformers' VideoMAE.

B batch, T frames, C colours, Y X pixels, H W patches, N = T * H * W tokens, D features.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import VideoMAEConfig, VideoMAEModel

from vlframe import ConfigError, VideoGrid
from vlframe_umt.pixels import front_end
from vlframe_umt.positions import positions

EPS = 1e-6  # of the norms within the encoder
EPS_OF_LAST = 1e-12  # of vision_layernorm


class Umt(nn.Module):
    """Pre-norm blocks in which all patches of a clip see each other, no norm at the end, then ``vision_layernorm``.

    Positions are sinusoids that were made for four frames and are stretched over a clip of any other length. An image
    is one frame, with a table of its own. In VideoChat2's first stage a learned embedding of each frame is added before
    ``vision_layernorm``; an image becomes one frame for each of them there.
    """

    per_frame = False

    def __init__(
        self,
        *,
        hidden_size: int,
        intermediate_size: int,
        num_hidden_layers: int,
        num_attention_heads: int,
        image_size: int,
        patch_size: int,
        colours: str,
        resize: str,
        frame_embeddings: int,
    ) -> None:
        super().__init__()
        if frame_embeddings < 0:
            raise ConfigError(f"encoder.frame_embeddings={frame_embeddings} is not possible; it is at least 0")
        smallest = min(hidden_size, intermediate_size, num_hidden_layers, num_attention_heads, patch_size)
        if smallest < 1 or hidden_size % num_attention_heads or image_size < patch_size:
            raise ConfigError(
                f"encoder: hidden_size={hidden_size} must be a multiple of num_attention_heads={num_attention_heads}, "
                f"image_size={image_size} at least patch_size={patch_size}, and "
                f"intermediate_size={intermediate_size}, num_hidden_layers={num_hidden_layers} at least 1"
            )
        self.pixels = front_end(image_size, colours, resize)
        model = VideoMAEModel(
            VideoMAEConfig(
                hidden_size=hidden_size,
                intermediate_size=intermediate_size,
                num_hidden_layers=num_hidden_layers,
                num_attention_heads=num_attention_heads,
                image_size=image_size,
                patch_size=patch_size,
                tubelet_size=1,
                num_frames=1,
                layer_norm_eps=EPS,
                use_mean_pooling=True,  # transformers' word for a model without the last norm
            )
        )
        for name, module in model.encoder.named_modules():
            # Keys have no bias there. One would learn from rounding errors: it takes no part in attention's weights.
            if name.endswith("attention.key"):
                module.bias = None
        self.projection: nn.Conv3d = model.embeddings.patch_embeddings.projection
        self.encoder = model.encoder
        self.frame_embedding = None
        if frame_embeddings:
            self.frame_embedding = nn.Parameter(torch.empty(1, frame_embeddings, 1, hidden_size))
            nn.init.trunc_normal_(self.frame_embedding)
        self.vision_layernorm = nn.LayerNorm(hidden_size, eps=EPS_OF_LAST)
        self.dim = hidden_size
        self.image_size = image_size
        self.side = image_size // patch_size
        self.recompute = False

    def blocks(self) -> list[nn.Module]:
        """Return the blocks, from the first to the last."""
        return list(self.encoder.layer)

    def enable_gradient_checkpointing(self) -> None:
        """Compute blocks again in the backward pass instead of keeping their activations."""
        self.recompute = True

    def grid(self, frames: int, height: int, width: int) -> VideoGrid:
        """Return the patches of each frame. Any number of frames will do, without embeddings of frames; with some, so
        many, or one, to which each of them is added: it becomes as many.
        """
        if self.frame_embedding is not None:
            most = self.frame_embedding.shape[1]
            if frames not in (1, most):
                raise ConfigError(
                    f"the encoder has embeddings for clips of {most} frames (encoder.frame_embeddings), and a clip has "
                    f"{frames}; take media.frames={most}"
                )
            frames = most
        return VideoGrid(frames, self.side, self.side)

    def positions(self, frames: int, device: torch.device) -> Tensor:
        """Return float32 ``table_ND`` of a clip of so many frames, or of an image."""
        return positions(frames, self.side, self.image_size, self.dim, device)

    def forward(self, pixels_BTCYX: Tensor) -> Tensor:
        """Return ``features_BTHWD``."""
        tokens_BND = self._run(pixels_BTCYX)
        if self.frame_embedding is not None:
            tokens_BND = (tokens_BND.unflatten(1, (-1, self.side**2)) + self.frame_embedding).flatten(1, 2)
        return self.vision_layernorm(tokens_BND).unflatten(1, (-1, self.side, self.side))

    def intermediates(self, pixels_BTCYX: Tensor) -> dict[str, Tensor]:
        """Return ``umt_bTLC``, what comes before ``vision_layernorm``, a row for each frame."""
        return {"umt_bTLC": self._run(pixels_BTCYX).unflatten(1, (-1, self.side**2))}

    def _run(self, pixels_BTCYX: Tensor) -> Tensor:
        """Turn pixels into ``tokens_BND``."""
        pixels_BCTYX = pixels_BTCYX.transpose(1, 2).to(self.projection.weight.dtype)
        tokens_BND = self.projection(pixels_BCTYX).flatten(2).transpose(1, 2)
        table_ND = self.positions(pixels_BTCYX.shape[1], tokens_BND.device)
        tokens_BND = tokens_BND + table_ND.to(tokens_BND.dtype)
        for block in self.encoder.layer:
            if self.recompute and torch.is_grad_enabled():
                tokens_BND = checkpoint(block, tokens_BND, use_reentrant=False)
            else:
                tokens_BND = block(tokens_BND)
        return tokens_BND
