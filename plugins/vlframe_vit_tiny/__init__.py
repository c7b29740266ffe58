"""Small vision transformers that train from nothing on a CPU."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import vlframe

vlframe_api = 1


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
        "encoder",
        "vit_tiny",
        "vlframe_vit_tiny.encoder:VitTiny",
        VitTinyParams,
        "small ViT to train from nothing",
        example={"dim": 32, "heads": 2},
    )
    yield vlframe.Component(
        "encoder",
        "vit_joint_tiny",
        "vlframe_vit_tiny.joint:VitJointTiny",
        VitTinyParams,
        "small ViT whose patches attend to those of all frames, to train from nothing",
        example={"dim": 32, "heads": 2},
    )


@vlframe.hookimpl
def vlframe_conf() -> Path:
    """Return the preset of the quickstart's size of picture."""
    return Path(__file__).parent / "conf"
