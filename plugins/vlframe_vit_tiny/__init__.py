"""A small vision transformer that trains from nothing on a CPU."""

from collections.abc import Iterator
from dataclasses import dataclass

import vlframe


@dataclass
class VitTinyParams:
    """A vision transformer over square patches."""

    size: int = 48  # pixels
    patch: int = 8  # pixels
    dim: int = 128
    depth: int = 1  # blocks
    heads: int = 4
    mlp_ratio: float = 2.0  # hidden width of the MLP over dim


@vlframe.hookimpl
def vlframe_components() -> Iterator[vlframe.Component]:
    yield vlframe.Component(
        "encoder", "vit_tiny", "vlframe_vit_tiny.encoder:VitTiny", VitTinyParams, "small ViT to train from nothing"
    )
