"""Shared code of CLIP and SigLIP: embed the patches, run the blocks up to a hidden state, return it as a grid.

B batch, T frames, N = B * T, C colours, Y X pixels, H W patches, P tokens, D features.
"""

import copy
from typing import Any, ClassVar

from torch import Tensor, nn

from vlframe import ConfigError, SquarePixels, VideoGrid, blocks_before, is_meta, part_config, pretrained_part

SELECTIONS = ("patch", "cls_patch")
SIZES = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "image_size", "patch_size")


class Tower(nn.Module):
    """``hidden_states[layer]`` of a transformers image tower, without the blocks, norm and head that follow it."""

    config_class: ClassVar[Any]
    model_class: ClassVar[Any]
    mean: ClassVar[tuple[float, float, float]]
    std: ClassVar[tuple[float, float, float]]
    class_tokens: ClassVar[int]
    per_frame = True

    def __init__(
        self, *, source: str | None, architecture: dict[str, Any], layer: int, select: str, resize: str
    ) -> None:
        super().__init__()
        self._check(select)
        config = part_config(self.config_class, architecture, source, SIZES)
        config = self.cut(config, blocks_before(layer, config.num_hidden_layers))
        self.take(self.model_class(config) if source is None or is_meta() else self._load(source, config))
        self.dim: int = config.hidden_size
        self.side: int = config.image_size // config.patch_size
        self.sequence = select == "cls_patch"
        self.pixels = SquarePixels(config.image_size, self.mean, self.std, "bicubic", resize)

    def _check(self, select: str) -> None:
        if select not in SELECTIONS:
            raise ConfigError(f"select is {select!r}; it can be {' or '.join(SELECTIONS)}")
        if select == "cls_patch" and not self.class_tokens:
            raise ConfigError(
                f"{type(self).__name__} has no class token, so select cannot be cls_patch; use select=patch"
            )

    def cut(self, config: Any, depth: int) -> Any:
        """Return the config of a tower that ends after ``depth`` blocks."""
        config = copy.deepcopy(config)
        config.num_hidden_layers = depth
        return config

    def take(self, tower: Any) -> None:
        """Keep the parts of transformers' model that are run."""
        self.embeddings = tower.embeddings
        self.encoder = tower.encoder

    def _load(self, source: str, config: Any) -> nn.Module:
        return pretrained_part(self.model_class, source, config, needless=("post_layernorm.", "head."))

    def embed(self, pixels_NCYX: Tensor) -> Tensor:
        """Return hidden state 0: ``tokens_NPD``."""
        return self.embeddings(pixels_NCYX)

    def grid(self, frames: int, height: int, width: int) -> VideoGrid:
        if self.sequence:
            return VideoGrid(frames, 1, self.class_tokens + self.side**2, sequence=True)
        return VideoGrid(frames, self.side, self.side)

    def blocks(self) -> list[nn.Module]:
        """Return the transformer's blocks that are run."""
        return list(self.encoder.layers)

    def intermediates(self, pixels_BTCYX: Tensor) -> dict[str, Tensor]:
        """Return ``hidden_state_0``, the embedded patches that the first block reads: ``tokens_NPD``."""
        return {"hidden_state_0": self.embed(pixels_BTCYX.flatten(0, 1))}

    def forward(self, pixels_BTCYX: Tensor) -> Tensor:
        pixels_NCYX = pixels_BTCYX.flatten(0, 1).to(self.embeddings.patch_embedding.weight.dtype)
        hidden_NPD = self.encoder(inputs_embeds=self.embed(pixels_NCYX)).last_hidden_state
        if not self.sequence:
            hidden_NPD = hidden_NPD[:, self.class_tokens :]
        batch, frames = pixels_BTCYX.shape[:2]
        grid = self.grid(frames, *pixels_BTCYX.shape[-2:])
        return hidden_NPD.reshape(batch, frames, grid.height, grid.width, self.dim)
