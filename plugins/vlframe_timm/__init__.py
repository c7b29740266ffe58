"""Any image model of timm as an encoder: its feature map."""

from collections.abc import Iterator
from dataclasses import dataclass

import vlframe


@dataclass
class TimmParams:
    """One image model of timm."""

    model: str  # a name that timm.list_models() shows, e.g. mobilenetv2_100
    # null: random; pretrained: timm's own download; otherwise a local file (safetensors, or .pth without code in it)
    # with timm's names, or torchvision's for mobilenetv2_100
    source: str | None = None
    # Which feature map: 0 the finest, -1 the coarsest before the model's last norm or convolution, later blocks are not
    # kept; null: what the classifier would see
    level: int | None = None
    size: int | None = None  # pixels; null: the model's own
    fit: str = "crop"  # crop | squash | pad: what happens to frames that are not square


@vlframe.hookimpl
def vlframe_components() -> Iterator[vlframe.Component]:
    yield vlframe.Component(
        "encoder", "timm", "vlframe_timm.encoder:Timm", TimmParams, "any image model of timm, its feature map"
    )
