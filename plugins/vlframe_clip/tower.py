"""What CLIP and SigLIP share: embed the patches, run the blocks up to a hidden state, give it as a grid.

B batch, T frames, N = B * T, C colours, Y X pixels, H W patches, P tokens, D features.
"""

import copy
from typing import Any, ClassVar

from torch import Tensor, nn

from vlframe import ConfigError, PixelSpec, VideoGrid, planning
from vlframe_clip.checkpoint import pretrained, tower_config

FITS = ("crop", "squash", "pad")
SELECTIONS = ("patch", "cls_patch")


class Tower(nn.Module):
    """``hidden_states[layer]`` of a transformers image tower, without the blocks, norm and head that follow it."""

    config_class: ClassVar[Any]
    model_class: ClassVar[Any]
    mean: ClassVar[tuple[float, float, float]]
    std: ClassVar[tuple[float, float, float]]
    class_tokens: ClassVar[int]

    def __init__(self, *, source: str | None, architecture: dict[str, Any], layer: int, select: str, fit: str) -> None:
        super().__init__()
        self._check(select, fit)
        config = tower_config(self.config_class, architecture, source)
        config = self.cut(config, _depth(layer, config.num_hidden_layers))
        self.take(self.model_class(config) if source is None or planning() else self._load(source, config))
        self.dim: int = config.hidden_size
        self.side: int = config.image_size // config.patch_size
        self.sequence = select == "cls_patch"
        self.pixels = PixelSpec(config.image_size, self.mean, self.std, "bicubic", fit)  # type: ignore[arg-type]

    def _check(self, select: str, fit: str) -> None:
        if select not in SELECTIONS:
            raise ConfigError(f"select is {select!r}; it can be {' or '.join(SELECTIONS)}")
        if fit not in FITS:
            raise ConfigError(f"fit is {fit!r}; it can be {', '.join(FITS)}")
        if select == "cls_patch" and not self.class_tokens:
            raise ConfigError(
                f"{type(self).__name__} has no class token, so select cannot be cls_patch; use select=patch"
            )

    def cut(self, config: Any, depth: int) -> Any:
        """The config of a tower that ends after ``depth`` blocks."""
        config = copy.deepcopy(config)
        config.num_hidden_layers = depth
        return config

    def take(self, tower: Any) -> None:
        """Keep the parts of transformers' model that are run; the rest is left behind."""
        self.embeddings = tower.embeddings
        self.encoder = tower.encoder

    def _load(self, source: str, config: Any) -> nn.Module:
        return pretrained(self.model_class, source, config, needless=("post_layernorm.", "head."))

    def embed(self, pixels_NCYX: Tensor) -> Tensor:
        """Hidden state 0: ``tokens_NPD``."""
        return self.embeddings(pixels_NCYX)

    def grid(self, frames: int) -> VideoGrid:
        if self.sequence:
            return VideoGrid(frames, 1, self.class_tokens + self.side**2, sequence=True)
        return VideoGrid(frames, self.side, self.side)

    def forward(self, pixels_BTCYX: Tensor) -> Tensor:
        pixels_NCYX = pixels_BTCYX.flatten(0, 1).to(self.embeddings.patch_embedding.weight.dtype)
        hidden_NPD = self.encoder(inputs_embeds=self.embed(pixels_NCYX)).last_hidden_state
        if not self.sequence:
            hidden_NPD = hidden_NPD[:, self.class_tokens :]
        batch, frames = pixels_BTCYX.shape[:2]
        grid = self.grid(frames)
        return hidden_NPD.reshape(batch, frames, grid.height, grid.width, self.dim)


def _depth(layer: int, blocks: int) -> int:
    """How many blocks come before hidden state ``layer``; there is one more hidden state than blocks."""
    depth = layer if layer >= 0 else blocks + 1 + layer
    if not 0 <= depth <= blocks:
        raise ConfigError(f"layer is {layer}, but {blocks} blocks have hidden states {-blocks - 1} to {blocks}")
    return depth
