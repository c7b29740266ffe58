"""SigLIP's image tower. N frames, C colours, Y X pixels, P tokens, D features."""

from typing import Any

from transformers import SiglipVisionConfig, SiglipVisionModel

from vlframe_clip.tower import Tower


class Siglip(Tower):
    """SigLIP's tower: only patches. Pixels that do not fill a patch are dropped: 384 / 14 gives 27 x 27 patches."""

    config_class = SiglipVisionConfig
    model_class = SiglipVisionModel
    mean = (0.5, 0.5, 0.5)
    std = (0.5, 0.5, 0.5)
    class_tokens = 0

    def cut(self, config: Any, depth: int) -> Any:
        config = super().cut(config, depth)
        config.vision_use_head = False
        return config
