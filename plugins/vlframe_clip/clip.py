"""CLIP's image tower. N frames, C colours, Y X pixels, P tokens, D features."""

from typing import Any

from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModel

from vlframe_clip.tower import Tower


class Clip(Tower):
    """CLIP's tower: a class token precedes the patches, and a LayerNorm the first block."""

    config_class = CLIPVisionConfig
    model_class = CLIPVisionModel
    mean = (0.48145466, 0.4578275, 0.40821073)
    std = (0.26862954, 0.26130258, 0.27577711)
    class_tokens = 1

    def take(self, tower: Any) -> None:
        super().take(tower)
        self.pre_layrnorm = tower.pre_layrnorm  # transformers' spelling, and that of the published checkpoints

    def embed(self, pixels_NCYX: Tensor) -> Tensor:
        return self.pre_layrnorm(self.embeddings(pixels_NCYX))
