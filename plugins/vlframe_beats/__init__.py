"""BEATs (Chen et al. 2022): an audio transformer over fbank patches."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import vlframe

vlframe_api = 1


@dataclass
class BeatsParams:
    """Parameters under the names of a published checkpoint's configuration; the defaults are BEATs_iter3+."""

    source: str | None = None  # a published .pt ({"cfg", "model"}) or safetensors with the same names; null: random
    seconds: float = 30.0  # the longest sound heard; the rest is cut
    pad: bool = True  # silence after a shorter sound, up to `seconds`, as VideoLLaMA 2.1-AV does: always 1496 steps
    input_patch_size: int = 16  # fbank frames and mel bins of a patch
    embed_dim: int = 512  # width of a patch before the blocks
    conv_bias: bool = False  # of the patch embedding
    encoder_layers: int = 12
    encoder_embed_dim: int = 768
    encoder_ffn_embed_dim: int = 3072
    encoder_attention_heads: int = 12
    conv_pos: int = 128  # width of the positional convolution, in steps
    conv_pos_groups: int = 16
    relative_position_embedding: bool = True  # a learned attention bias for each distance
    num_buckets: int = 320  # buckets of distances
    max_distance: int = 800  # larger distances share one bucket
    gru_rel_pos: bool = True  # the query gates that bias
    activation_fn: str = "gelu"  # gelu: of every published checkpoint, and the only one that is built
    layer_norm_first: bool = False  # false: norms follow attention and MLP; as above
    deep_norm: bool = True  # residuals times (2 * layers) ** 0.25 (Wang et al. 2022)
    dropout_input: float = 0.0
    dropout: float = 0.0
    attention_dropout: float = 0.0
    activation_dropout: float = 0.0
    encoder_layerdrop: float = 0.05  # probability of skipping a block in training
    layer_wise_gradient_decay_ratio: float = 0.6  # factor on the gradient that each block passes back


BUILT = {"activation_fn": "gelu", "layer_norm_first": False}  # the values that these fields can have
SMALL = {  # 4 s give 24 x 8 = 192 steps of 64
    "seconds": 4.0,
    "embed_dim": 48,
    "encoder_layers": 2,
    "encoder_embed_dim": 64,
    "encoder_ffn_embed_dim": 128,
    "encoder_attention_heads": 4,
    "conv_pos": 16,
    "conv_pos_groups": 4,
    "num_buckets": 32,
    "max_distance": 64,
}


@vlframe.hookimpl
def vlframe_components() -> Iterator[vlframe.Component]:
    yield vlframe.Component(
        "audio_encoder",
        "beats",
        "vlframe_beats.encoder:Beats",
        BeatsParams,
        "BEATs audio transformer, fbank front end",
        example=SMALL,
    )


@vlframe.hookimpl
def vlframe_conf() -> Path:
    """Return presets of BEATs in its published size, and of small ones."""
    return Path(__file__).parent / "conf"
