"""ImageBind (Girdhar et al. 2023): the audio and vision trunks, each of which gives one vector in a shared space."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import vlframe

vlframe_api = 1


@dataclass
class AudioParams:
    """The audio trunk of ImageBind-Huge, and the clips it takes of a file."""

    source: str | None = None  # imagebind_huge.pth, or safetensors with the same names; null: random weights
    hidden_size: int = 768
    intermediate_size: int = 3072
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    embed_dim: int = 1024  # of the space that all modalities share
    patch_size: int = 16
    stride: int = 10  # of patches, which overlap
    scale: float = 20.0  # norm of each vector
    clips: int = 3  # spread over the file; one vector each (ImageBind has 3, Video-LLaMA 8)
    clip_seconds: float = 2.0
    seconds: float = 3600.0  # longest sound over which they are spread; the rest is cut
    mels: int = 128
    frames: int = 204  # of a clip's spectrogram, padded with zeros or cut


@dataclass
class VisionParams:
    """The vision trunk of ImageBind-Huge. Frames are encoded one by one."""

    source: str | None = None  # imagebind_huge.pth, or safetensors with the same names; null: random weights
    hidden_size: int = 1280
    intermediate_size: int = 5120
    num_hidden_layers: int = 32
    num_attention_heads: int = 16
    embed_dim: int = 1024
    image_size: int = 224
    patch_size: int = 14
    resize: str = "crop"  # crop | squash | pad: how frames are made square


SMALL = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "embed_dim": 24,
}  # fmt: skip


@vlframe.hookimpl
def vlframe_components() -> Iterator[vlframe.Component]:
    yield vlframe.Component(
        "audio_encoder",
        "imagebind_audio",
        "vlframe_imagebind.audio:ImageBindAudio",
        AudioParams,
        "ImageBind's audio trunk: one vector for each of a few clips spread over the file",
        example={**SMALL, "mels": 32, "frames": 64, "clip_seconds": 0.6, "seconds": 4.0},
    )
    yield vlframe.Component(
        "encoder",
        "imagebind_vision",
        "vlframe_imagebind.vision:ImageBindVision",
        VisionParams,
        "ImageBind's vision trunk: one vector for each frame",
        example={**SMALL, "image_size": 56},
    )


@vlframe.hookimpl
def vlframe_conf() -> Path:
    """Return presets of the trunks as Video-LLaMA uses them, and of small ones for the CPU."""
    return Path(__file__).parent / "conf"
