"""Projectors: linear maps and MLPs, for frames or sound, and an average over space and time."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import vlframe

vlframe_api = 1


@dataclass
class MLPParams:
    """Linear layers with GELU between them."""

    depth: int = 2  # linear layers; 2 is VideoLLaMA 2's mlp2x_gelu
    hidden: int | None = None  # width between them; null: the language model's width


@dataclass
class PoolParams:
    """The target grid, and the MLP that reads it. A shorter axis is not changed."""

    frames: int = 4
    height: int = 4
    width: int = 4
    depth: int = 2  # linear layers
    hidden: int | None = None  # width between them; null: the language model's width


@vlframe.hookimpl
def vlframe_components() -> Iterator[vlframe.Component]:
    frames, sound = "vlframe_projectors.frames", "vlframe_projectors.sound"
    for row in (
        ("connector", "linear", f"{frames}:MeanLinear", None, "mean over the frames, then one linear map"),
        ("connector", "mlp", f"{frames}:MeanMLP", MLPParams, "mean over the frames, then an MLP at each position"),
        ("connector", "pool", "vlframe_projectors.pool:Pool", PoolParams, "average to a small grid, then an MLP"),
        ("audio_connector", "linear", f"{sound}:SoundLinear", None, "one linear map of each step"),
        ("audio_connector", "mlp", f"{sound}:SoundMLP", MLPParams, "an MLP at each step"),
    ):
        yield vlframe.Component(*row, example={})  # their widths are those of their neighbours


@vlframe.hookimpl
def vlframe_conf() -> Path:
    """Return the preset of a small pool for the CPU."""
    return Path(__file__).parent / "conf"
