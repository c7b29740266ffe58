"""Whisper's encoder. B batch, F audio frames, M mel bins, A steps, D features."""

from typing import Any

from torch import Tensor, nn
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from vlframe import ConfigError, is_meta, part_config, pretrained_part
from vlframe_whisper.log_mel import HOP, SAMPLING_RATE, LogMel

FRAMES_PER_STEP = 2  # the second convolution has a stride of 2
STEP_SECONDS = FRAMES_PER_STEP * HOP / SAMPLING_RATE
SIZES = (
    "d_model",
    "encoder_layers",
    "encoder_attention_heads",
    "encoder_ffn_dim",
    "num_mel_bins",
    "max_source_positions",
)
# The names in a checkpoint of the whole model, and in one of the model without its head
RENAME = {r"^(model\.)?encoder\.": ""}


class Whisper(nn.Module):
    """Log-mel frames through two convolutions and the blocks. Every sound has the same number of steps."""

    def __init__(self, *, source: str | None, architecture: dict[str, Any], seconds: float | None) -> None:
        super().__init__()
        config = part_config(WhisperConfig, architecture, source, SIZES)
        steps = _steps(seconds, config.max_source_positions)
        if source is None or is_meta():
            self.encoder = WhisperEncoder(config)
        else:
            self.encoder = pretrained_part(WhisperEncoder, source, config, rename=RENAME)
        if steps < config.max_source_positions:
            _shorten(self.encoder, steps)
        self.dim: int = config.d_model
        self.audio = LogMel(steps * STEP_SECONDS, config.num_mel_bins)

    def steps(self, frames: int) -> int:
        return frames // FRAMES_PER_STEP

    def blocks(self) -> list[nn.Module]:
        """Return the transformer's blocks."""
        return list(self.encoder.layers)

    def forward(self, features_BFM: Tensor) -> Tensor:
        features_BMF = features_BFM.transpose(1, 2).to(self.encoder.conv1.weight.dtype)
        return self.encoder(features_BMF).last_hidden_state


def _steps(seconds: float | None, positions: int) -> int:
    if seconds is None:
        return positions
    steps = round(seconds / STEP_SECONDS)
    if not 1 <= steps <= positions:
        raise ConfigError(f"seconds is {seconds}; this Whisper takes {STEP_SECONDS} to {positions * STEP_SECONDS:g}")
    return steps


def _shorten(encoder: WhisperEncoder, steps: int) -> None:
    """Keep the first positions, and let transformers' check of the length know."""
    encoder.embed_positions = nn.Embedding.from_pretrained(encoder.embed_positions.weight.detach()[:steps].clone())
    encoder.max_source_positions = encoder.config.max_source_positions = steps
