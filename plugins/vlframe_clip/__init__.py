"""CLIP, SigLIP and SigLIP 2 image towers, read at a chosen hidden layer."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import vlframe

vlframe_api = 1


@dataclass
class TowerParams:
    """One image tower of transformers."""

    source: str | None = None  # local folder or hub id of a vision-only or image-and-text checkpoint; null: random
    # Fields of the vision config (hidden_size, num_hidden_layers, image_size, ...), given so that a composition can be
    # checked without the checkpoint; may be empty when source is a local folder.
    architecture: dict[str, Any] = field(default_factory=dict)
    layer: int = -2  # which hidden state: 0 before the first block, -1 after the last; later blocks are not built
    select: str = "patch"  # patch: the patches as a plane; cls_patch: class token and patches as a sequence
    resize: str = "squash"  # crop | squash | pad: how frames are made square


@dataclass
class NaFlexParams:
    """One image tower of transformers for pictures of any size."""

    source: str | None = None  # local folder or hub id of a vision-only or image-and-text checkpoint; null: random
    # Fields of Siglip2VisionConfig; may be empty when source is a local folder.
    architecture: dict[str, Any] = field(default_factory=dict)
    layer: int = -2  # which hidden state: 0 before the first block, -1 after the last; later blocks are not built
    # Height x width of the resized picture: 128 and 256 patches of 16 x 16 pixels. The published image processor
    # resizes every picture to 256.
    min_pixels: int = 32768
    max_pixels: int = 65536


SMALL = {
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "patch_size": 14,
}


@vlframe.hookimpl
def vlframe_components() -> Iterator[vlframe.Component]:
    yield vlframe.Component(
        "encoder",
        "clip",
        "vlframe_clip.clip:Clip",
        TowerParams(resize="crop"),
        "CLIP image tower (Radford et al. 2021), any hidden layer, from transformers",
        example={"architecture": {**SMALL, "image_size": 56}},
    )
    yield vlframe.Component(
        "encoder",
        "siglip",
        "vlframe_clip.siglip:Siglip",
        TowerParams(),
        "SigLIP image tower (Zhai et al. 2023), any hidden layer, from transformers",
        example={"architecture": {**SMALL, "image_size": 60}},
    )
    yield vlframe.Component(
        "encoder",
        "siglip2_naflex",
        "vlframe_clip.naflex:Siglip2NaFlex",
        NaFlexParams(),
        "SigLIP 2 NaFlex image tower (Tschannen et al. 2025), pictures of any size, from transformers",
        example={
            "architecture": {**SMALL, "patch_size": 8, "num_patches": 16},
            "min_pixels": 512,
            "max_pixels": 1536,
        },
    )


@vlframe.hookimpl
def vlframe_conf() -> Path:
    """Return presets of published CLIP and SigLIP towers, and of small ones."""
    return Path(__file__).parent / "conf"
