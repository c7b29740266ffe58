"""UMT-L/16, the encoder of VideoChat2 (Li et al. 2023, "Unmasked Teacher")."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import vlframe

vlframe_api = 1


@dataclass
class UmtParams:
    """Sizes of UMT-L/16. The released encoder has 24 blocks; without the last, its output is the penultimate layer.

    A checkpoint of VideoChat2 is one whole (``vlframe convert``); alone, the weights are random.
    """

    hidden_size: int = 1024
    intermediate_size: int = 4096
    num_hidden_layers: int = 23
    num_attention_heads: int = 16
    image_size: int = 224
    patch_size: int = 16
    colours: str = "clip"  # clip | imagenet: mean and standard deviation that pixels are normalised with
    resize: str = "crop"  # crop | squash | pad: how frames are made square
    # Learned embeddings of so many frames, added before the last norm (the first stage of VideoChat2); 0: none
    frame_embeddings: int = 0


@vlframe.hookimpl
def vlframe_components() -> Iterator[vlframe.Component]:
    yield vlframe.Component(
        "encoder",
        "umt_l",
        "vlframe_umt.encoder:Umt",
        UmtParams,
        "UMT-L/16 without its last block: joint attention over all patches of a clip of any length (VideoChat2)",
        example={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "image_size": 56,
            "patch_size": 14,
        },
    )


@vlframe.hookimpl
def vlframe_conf() -> Path:
    """Return the folder of presets: a small encoder for the CPU."""
    return Path(__file__).parent / "conf"
