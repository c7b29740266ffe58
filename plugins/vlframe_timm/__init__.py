"""Any image model of timm as an encoder: its feature map."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import vlframe

vlframe_api = 1


@dataclass
class TimmParams:
    """One image model of timm."""

    model: str  # a name that timm.list_models() shows, e.g. mobilenetv2_100
    # null: random; pretrained: timm's own download; otherwise a local file (safetensors, or .pth without code) with
    # timm's names, or torchvision's for mobilenetv2_100
    source: str | None = None
    # Which feature map: 0 the finest, -1 the coarsest before the model's last norm or convolution; later blocks are
    # dropped; null: the classifier's input
    level: int | None = None
    size: int | None = None  # pixels; null: the model's own
    resize: str = "crop"  # crop | squash | pad: how frames are made square


@vlframe.hookimpl
def vlframe_components() -> Iterator[vlframe.Component]:
    yield vlframe.Component(
        "encoder",
        "timm",
        "vlframe_timm.encoder:Timm",
        TimmParams,
        "any image model of timm, its feature map",
        example={"model": "test_efficientnet"},
    )


@vlframe.hookimpl
def vlframe_conf() -> Path:
    """Return presets of image models that are known to work well as encoders."""
    return Path(__file__).parent / "conf"
