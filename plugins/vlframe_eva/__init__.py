"""EVA's ViT-g/14 as used by BLIP-2, and with UniFormerV2's aggregation over time as used by VideoChat."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import vlframe

vlframe_api = 1


@dataclass
class ViTParams:
    """Sizes of ViT-g/14. The released ViT has 40 blocks; without the last, its output is the penultimate layer."""

    hidden_size: int = 1408
    intermediate_size: int = 6144
    num_hidden_layers: int = 39
    num_attention_heads: int = 16
    image_size: int = 224
    patch_size: int = 14
    select: str = "cls_patch"  # cls_patch: class token and patches as a sequence | patch: the patches as a plane
    resize: str = "squash"  # crop | squash | pad: how frames are made square


@dataclass
class MHRAParams(ViTParams):
    """The same, plus UniFormerV2's modules. Features are one sequence per clip: every token, and a global token."""

    resize: str = "crop"
    global_layers: int = 8  # blocks, counted from the last, after each of which the global token reads the others
    global_intermediate: int | None = None  # hidden width of the global token's MLPs; null: intermediate_size
    global_dropout: float = 0.5  # in these MLPs
    local: str = "none"  # none | single | double: a convolution over time before attention; double: and before the MLP
    local_reduction: float = 2.0  # factor by which that convolution is narrower
    halve_frames: bool = False  # patches span three frames, with a stride of two


SMALL = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 56,
}  # fmt: skip


@vlframe.hookimpl
def vlframe_components() -> Iterator[vlframe.Component]:
    yield vlframe.Component(
        "encoder",
        "eva_vit_g",
        "vlframe_eva.vit:EvaViT",
        ViTParams,
        "EVA's ViT-g/14 without its last block, and BLIP-2's ln_vision",
        example=SMALL,
    )
    yield vlframe.Component(
        "encoder",
        "eva_vit_g_mhra",
        "vlframe_eva.mhra:EvaViTMHRA",
        MHRAParams,
        "EVA's ViT-g/14 with UniFormerV2's global (and local) relation aggregators over time (VideoChat)",
        example={**SMALL, "global_layers": 1},
    )


@vlframe.hookimpl
def vlframe_conf() -> Path:
    """Return presets of small towers for the CPU."""
    return Path(__file__).parent / "conf"
