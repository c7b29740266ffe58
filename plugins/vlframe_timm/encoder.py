"""A timm model as an encoder.

B batch, T frames, N = B * T, C colours, Y X pixels, P tokens, H W positions, D features.
"""

import torch
from torch import Tensor, nn

from vlframe import ConfigError, PixelSpec, VideoGrid, planning
from vlframe_timm.weights import create, load

FITS = ("crop", "squash", "pad")


class Timm(nn.Module):
    """The feature map of a timm model, whatever that model's own layout is."""

    def __init__(self, *, model: str, source: str | None, level: int | None, size: int | None, fit: str) -> None:
        super().__init__()
        if fit not in FITS:
            raise ConfigError(f"fit is {fit!r}; it can be {', '.join(FITS)}")
        self.level = level
        self.model = create(model) if source is None or planning() else load(model, source)
        own = self.model.pretrained_cfg
        size = size or own["input_size"][-1]
        _adapt(self.model, model, level, size)
        with torch.device("meta"):  # a second, weightless copy tells the sizes for free
            skeleton = create(model).eval()
            _adapt(skeleton, model, level, size)
            self.dim, self.height, self.width = _measure(skeleton, model, level, size)
        resampling = "bilinear" if own["interpolation"] == "bilinear" else "bicubic"
        self.pixels = PixelSpec(size, tuple(own["mean"]), tuple(own["std"]), resampling, fit)  # type: ignore[arg-type]

    def grid(self, frames: int) -> VideoGrid:
        return VideoGrid(frames, self.height, self.width)

    def forward(self, pixels_BTCYX: Tensor) -> Tensor:
        pixels_NCYX = pixels_BTCYX.flatten(0, 1).to(next(self.model.parameters()).dtype)
        return feature_map(self.model, pixels_NCYX, self.level).unflatten(0, pixels_BTCYX.shape[:2])


def feature_map(model: nn.Module, pixels_NCYX: Tensor, level: int | None) -> Tensor:
    """``features_NHWD`` of one level, or the final ones."""
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


def _adapt(model: nn.Module, name: str, level: int | None, size: int) -> None:
    """Drop what is not run, and set the image size of those models that have one."""
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
    """D, H, W of the feature map."""
    try:
        height, width, dim = feature_map(skeleton, torch.empty(1, 3, size, size), level).shape[1:]
    except Exception as error:  # whatever a model says about a size or a layout it does not take
        raise ConfigError(
            f"timm's {name} gives no feature map for size={size}, level={level}: {type(error).__name__}: {error}"
        ) from error
    return dim, height, width
