"""The encoder of Whisper (Radford et al. 2022)."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import vlframe

vlframe_api = 1


@dataclass
class WhisperParams:
    """The encoder of one Whisper model of transformers."""

    source: str | None = None  # local folder or hub id, of the whole model or of its encoder; null: random weights
    # Fields of WhisperConfig that shape the encoder (d_model, encoder_layers, encoder_attention_heads, encoder_ffn_dim,
    # num_mel_bins, max_source_positions); may be left empty when source is a local folder.
    architecture: dict[str, Any] = field(default_factory=dict)
    # The window that every sound is cut or padded to; null: the model's own, 30 s. A shorter one gives fewer steps, at
    # the first positions; the published models were trained on 30 s.
    seconds: float | None = None


SMALL = {  # 4 s give 200 steps of 32
    "d_model": 32,
    "encoder_layers": 2,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "num_mel_bins": 40,
    "max_source_positions": 200,
}


@vlframe.hookimpl
def vlframe_components() -> Iterator[vlframe.Component]:
    yield vlframe.Component(
        "audio_encoder",
        "whisper",
        "vlframe_whisper.encoder:Whisper",
        WhisperParams,
        "Whisper's encoder, log-mel front end, from transformers",
        example={"architecture": SMALL},
    )


@vlframe.hookimpl
def vlframe_conf() -> Path:
    """Return the folder of presets: Whisper's encoder in its published size, and a small one."""
    return Path(__file__).parent / "conf"
