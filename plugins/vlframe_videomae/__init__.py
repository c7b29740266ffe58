"""VideoMAE's encoder: patches of two frames each, which see the whole clip."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import vlframe

vlframe_api = 1


@dataclass
class VideoMaeParams:
    """One VideoMAE encoder of transformers."""

    source: str | None = None  # local folder or hub id, of the encoder or of a model around it; null: random weights
    # Fields of VideoMAEConfig (hidden_size, num_hidden_layers, image_size, tubelet_size, ...). Spelled out, so that a
    # composition is checked without the checkpoint; may be left empty when source is a local folder.
    architecture: dict[str, Any] = field(default_factory=dict)
    layer: int = -1  # which hidden state: 0 before the first block, -1 after the last; later blocks are not built
    resize: str = "crop"  # crop | squash | pad: what happens to frames that are not square


@vlframe.hookimpl
def vlframe_components() -> Iterator[vlframe.Component]:
    yield vlframe.Component(
        "encoder",
        "videomae",
        "vlframe_videomae.encoder:VideoMae",
        VideoMaeParams,
        "VideoMAE (Tong et al. 2022), joint space-time attention over tubelets, any hidden layer, from transformers",
        example={
            "architecture": {
                "hidden_size": 64,
                "intermediate_size": 160,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "image_size": 32,
                "patch_size": 8,
                "num_frames": 8,
                "tubelet_size": 2,
            }
        },
    )


@vlframe.hookimpl
def vlframe_conf() -> Path:
    return Path(__file__).parent / "conf"
