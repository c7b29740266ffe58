"""CLIP and SigLIP image towers, read at a chosen hidden layer."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import vlframe


@dataclass
class TowerParams:
    """One image tower of transformers."""

    source: str | None = None  # local folder or hub id of a vision-only or image-and-text checkpoint; null: random
    # Fields of the vision config (hidden_size, num_hidden_layers, image_size, ...). Spelled out, so that a composition
    # is checked without the checkpoint; may be left empty when source is a local folder.
    architecture: dict[str, Any] = field(default_factory=dict)
    layer: int = -2  # which hidden state: 0 before the first block, -1 after the last; later blocks are not built
    select: str = "patch"  # patch: the patches as a plane; cls_patch: class token and patches as a sequence
    fit: str = "squash"  # crop | squash | pad: what happens to frames that are not square


@vlframe.hookimpl
def vlframe_components() -> Iterator[vlframe.Component]:
    yield vlframe.Component(
        "encoder",
        "clip",
        "vlframe_clip.clip:Clip",
        TowerParams(fit="crop"),
        "CLIP image tower (Radford et al. 2021), any hidden layer, from transformers",
    )
    yield vlframe.Component(
        "encoder",
        "siglip",
        "vlframe_clip.siglip:Siglip",
        TowerParams(),
        "SigLIP image tower (Zhai et al. 2023), any hidden layer, from transformers",
    )
