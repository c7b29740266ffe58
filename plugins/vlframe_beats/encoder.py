"""BEATs as an audio encoder. B batch, F audio frames, M mel bins, A steps, D features."""

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from vlframe import ConfigError, is_meta
from vlframe_beats import BUILT, BeatsParams
from vlframe_beats.checkpoint import load
from vlframe_beats.fbank import MELS, Fbank
from vlframe_beats.transformer import Transformer

FBANK_MEAN = 15.41663
FBANK_STD = 6.55582


class Beats(nn.Module):
    """A transformer over patches of the spectrogram. Module names are those of the published checkpoints."""

    def __init__(self, **fields: Any) -> None:
        """Take the fields of ``BeatsParams``, from which the parts below are built as well."""
        super().__init__()
        config = BeatsParams(**fields)
        _check(config)
        self.dim = config.encoder_embed_dim
        self.patch = config.input_patch_size
        self.audio = Fbank(config.seconds, config.pad, shortest=self.patch)
        self.patch_embedding = nn.Conv2d(1, config.embed_dim, self.patch, stride=self.patch, bias=config.conv_bias)
        self.layer_norm = nn.LayerNorm(config.embed_dim)
        widens = config.embed_dim != self.dim
        self.post_extract_proj = nn.Linear(config.embed_dim, self.dim) if widens else nn.Identity()
        self.dropout_input = nn.Dropout(config.dropout_input)
        self.encoder = Transformer(config)
        if config.source is not None and not is_meta():
            load(self, config, Path(config.source))

    def steps(self, frames: int) -> int:
        """Count time patches times frequency patches; incomplete patches are dropped: 2998 frames give 1496."""
        return (frames // self.patch) * (MELS // self.patch)

    def blocks(self) -> list[nn.Module]:
        """Return the transformer's blocks."""
        return list(self.encoder.layers)

    def intermediates(self, features_BFM: Tensor) -> dict[str, Tensor]:
        """Return the kernel of the positional convolution and, if there is one, the position bias of attention."""
        return self.encoder.intermediates(self.steps(features_BFM.shape[1]))

    def forward(self, features_BFM: Tensor) -> Tensor:
        normed_BFM = (features_BFM.float() - FBANK_MEAN) / (2 * FBANK_STD)
        patches_BDFM = self.patch_embedding(normed_BFM[:, None].to(self.patch_embedding.weight.dtype))
        patches_BAD = patches_BDFM.flatten(2).transpose(1, 2)  # time-major: all bins of a moment, then the next moment
        return self.encoder(self.dropout_input(self.post_extract_proj(self.layer_norm(patches_BAD))))


def _check(config: BeatsParams) -> None:
    if wrong := [name for name, value in BUILT.items() if getattr(config, name) != value]:
        given = ", ".join(f"{name}={getattr(config, name)!r}" for name in wrong)
        raise ConfigError(f"a BEATs with {given} cannot be built; only {BUILT}, as every published one has it")
    width, heads, groups = config.encoder_embed_dim, config.encoder_attention_heads, config.conv_pos_groups
    if width % heads or width % groups:
        raise ConfigError(
            f"encoder_embed_dim={width} must be a multiple of encoder_attention_heads={heads} "
            f"and of conv_pos_groups={groups}"
        )
    if config.encoder_layers < 1:
        raise ConfigError(f"encoder_layers={config.encoder_layers}; BEATs has at least one")
    if not 1 <= config.input_patch_size <= MELS:
        raise ConfigError(f"input_patch_size={config.input_patch_size}; it can be 1 to {MELS}, the number of mel bins")
    least = config.num_buckets // 4
    if config.relative_position_embedding and not 0 < least < config.max_distance:
        raise ConfigError(
            f"num_buckets={config.num_buckets} must be at least 4, and max_distance={config.max_distance} "
            "above a quarter of it"
        )
