"""The spatial-temporal connectors of VideoLLaMA 2 (Cheng et al. 2024, section 2): STC and its four relatives."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import vlframe

vlframe_api = 1


@dataclass
class STCParams:
    """RegStage, sampler, RegStage, readout."""

    depth: int = 4  # blocks of each RegStage; 0: no RegStages, and the sampler works at the encoder's width
    hidden: int | None = None  # width of RegStages and sampler; null: the language model's width
    squeeze_ratio: float = 0.25  # squeeze-excite width over the width that enters its block
    sampler: str = "conv"  # conv: a learned 3-D convolution; average: a mean over the window
    stride: list[int] = field(default_factory=lambda: [2, 2, 2])  # window over time, height, width; no overlap
    padding: int = 1  # zeros added on both sides of every axis, including time
    mlp_depth: int = 2  # linear layers of the readout, with GELU between them


@vlframe.hookimpl
def vlframe_components() -> Iterator[vlframe.Component]:
    spatial = [1, 2, 2]
    for name, params, summary in (
        ("stc", STCParams(), "VideoLLaMA 2: RegStages around a padded 3-D convolution (8x24x24 -> 845 tokens)"),
        ("stc_v35", STCParams(padding=0), "VideoLLaMA 2.1: stc without padding (8x24x24 -> 576 tokens)"),
        ("stp", STCParams(sampler="average", padding=0), "stc that averages over windows instead of convolving"),
        ("spatial_conv", STCParams(depth=0, stride=spatial), "strided convolution in each frame (and two padded ones)"),
        ("spatial_pool", STCParams(depth=0, stride=spatial, sampler="average", padding=0), "2x2 mean in each frame"),
    ):
        small = {"depth": 1, "hidden": 32} if params.depth else {}
        yield vlframe.Component("connector", name, "vlframe_stc.connector:STC", params, summary, small)


@vlframe.hookimpl
def vlframe_conf() -> Path:
    """Return presets of small STCs for the CPU."""
    return Path(__file__).parent / "conf"
