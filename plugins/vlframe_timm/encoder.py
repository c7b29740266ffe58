"""A timm model as an encoder.

B batch, T frames, N = B * T, C colours, Y X pixels, P tokens, H W positions, D features.
"""

from typing import Any

import torch
from torch import Tensor, nn

from vlframe import ConfigError, SquarePixels, VideoGrid, is_meta, named_line
from vlframe_timm.weights import create, load


class Timm(nn.Module):
    """The feature map of a timm model, for any layout that the model uses."""

    per_frame = True

    def __init__(self, *, model: str, source: str | None, level: int | None, size: int | None, resize: str) -> None:
        super().__init__()
        self.level = level
        self.model: Any = create(model) if source is None or is_meta() else load(model, source)
        own: Any = self.model.pretrained_cfg
        size = size or int(own["input_size"][-1])
        _adapt(self.model, model, level, size)
        with torch.device("meta"):  # a second copy without weights gives the sizes for free
            skeleton = create(model).eval()
            _adapt(skeleton, model, level, size)
            self.dim, self.height, self.width = _measure(skeleton, model, level, size)
        resampling = "bilinear" if own["interpolation"] == "bilinear" else "bicubic"
        self.pixels = SquarePixels(size, tuple(own["mean"]), tuple(own["std"]), resampling, resize)

    def grid(self, frames: int, height: int, width: int) -> VideoGrid:
        return VideoGrid(frames, self.height, self.width)

    def blocks(self) -> list[nn.Module]:
        """Return a transformer's blocks, or the stages of a convolutional or windowed model; [] if it has neither."""
        for name in ("blocks", "stages", "layers"):
            found = getattr(self.model, name, None)
            if isinstance(found, nn.Sequential | nn.ModuleList):
                return list(found)
        named = [getattr(self.model, f"layer{number}", None) for number in range(1, 5)]
        return [stage for stage in named if isinstance(stage, nn.Module) and next(stage.parameters(), None) is not None]

    def forward(self, pixels_BTCYX: Tensor) -> Tensor:
        pixels_NCYX = pixels_BTCYX.flatten(0, 1).to(next(self.model.parameters()).dtype)
        return feature_map(self.model, pixels_NCYX, self.level).unflatten(0, pixels_BTCYX.shape[:2])


def feature_map(model: Any, pixels_NCYX: Tensor, level: int | None) -> Tensor:
    """Return ``features_NHWD`` of one level, or the final ones."""
    if level is not None:
        (features_NDHW,) = model.forward_intermediates(
            pixels_NCYX, indices=[level], stop_early=True, output_fmt="NCHW", intermediates_only=True
        )
        return features_NDHW.permute(0, 2, 3, 1)
    features = model.forward_features(pixels_NCYX)
    if features.ndim == 3:  # a transformer's tokens: class and register tokens first, then the patches of a square
        tokens_NPD = features[:, getattr(model, "num_prefix_tokens", None) or 0 :]
        side = round(tokens_NPD.shape[1] ** 0.5)
        return tokens_NPD.unflatten(1, (side, side))
    return features if getattr(model, "output_fmt", "NCHW") == "NHWC" else features.permute(0, 2, 3, 1)


def _adapt(model: Any, name: str, level: int | None, size: int) -> None:
    """Drop the layers that are not run, and set the image size if the model has one."""
    if size != model.pretrained_cfg["input_size"][-1] and hasattr(model, "set_input_size"):
        try:
            model.set_input_size(img_size=(size, size))
        except (AssertionError, ValueError) as error:
            raise ConfigError(f"timm's {name} does not take size={size}: {error}") from error
    if level is None:
        model.reset_classifier(0)
        return
    if not hasattr(model, "prune_intermediate_layers"):
        raise ConfigError(f"timm's {name} has no feature maps to choose from; use level=null, its final features")
    try:
        model.prune_intermediate_layers([level], prune_norm=True, prune_head=True)
    except AssertionError as error:
        raise ConfigError(f"timm's {name} has no level {level}: {error}") from error


def _measure(skeleton: nn.Module, name: str, level: int | None, size: int) -> tuple[int, int, int]:
    """Return D, H, W of the feature map."""
    try:
        height, width, dim = feature_map(skeleton, torch.empty(1, 3, size, size), level).shape[1:]
    except Exception as error:  # each model fails in its own way for an unsupported size or layout
        raise ConfigError(
            f"timm's {name} gives no feature map for size={size}, level={level}: {named_line(error)}"
        ) from error
    return dim, height, width
