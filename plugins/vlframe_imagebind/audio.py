"""ImageBind's audio trunk as an audio encoder. B batch, A clips, N = B * A, F audio frames, M mels, E features."""

from __future__ import annotations

from torch import Tensor, nn

from vlframe import ConfigError
from vlframe_imagebind.clips import Clips
from vlframe_imagebind.trunk import Trunk


class ImageBindAudio(Trunk):
    """One vector of norm ``scale`` for each clip."""

    def __init__(
        self, *, source: str | None, hidden_size: int, intermediate_size: int, num_hidden_layers: int,
        num_attention_heads: int, embed_dim: int, patch_size: int, stride: int, scale: float, clips: int,
        clip_seconds: float, seconds: float, mels: int, frames: int,
    ) -> None:  # fmt: skip
        if not 0 < patch_size <= min(mels, frames) or stride < 1:
            raise ConfigError(
                f"audio_encoder.patch_size is {patch_size} and stride {stride}; patches fit in mels={mels} times "
                f"frames={frames}, and the stride is at least 1"
            )
        if clips < 1 or not 0 < clip_seconds <= seconds:
            raise ConfigError(
                f"audio_encoder.clips is {clips} and clip_seconds {clip_seconds}; there is at least one clip, of more "
                f"than 0 and at most seconds={seconds}"
            )
        super().__init__(
            "audio",
            projection=nn.Conv2d(1, hidden_size, patch_size, stride, bias=False),
            patches=((mels - patch_size) // stride + 1) * ((frames - patch_size) // stride + 1),
            dim=hidden_size,
            hidden=intermediate_size,
            layers=num_hidden_layers,
            heads=num_attention_heads,
            embed_dim=embed_dim,
            stem_norm=True,
            first_norm=False,
            key_bias=True,
        )
        self.dim = embed_dim
        self.scale = scale
        self.frames = frames
        self.audio = Clips(seconds, clips, clip_seconds, mels, frames)
        self.load(source)

    def steps(self, frames: int) -> int:
        """Return how many clips these frames are."""
        return frames // self.frames

    def intermediates(self, features_BFM: Tensor) -> dict[str, Tensor]:
        """Return ``imagebind_audio_768``, each clip's summary before the shared space: ``summary_BAD``."""
        summary_ND = self.summary(self._spectra(features_BFM))
        return {"imagebind_audio_768": summary_ND.unflatten(0, (len(features_BFM), -1))}

    def forward(self, features_BFM: Tensor) -> Tensor:
        vectors_NE = self.scale * self.vectors(self._spectra(features_BFM))
        return vectors_NE.unflatten(0, (len(features_BFM), -1))

    def _spectra(self, features_BFM: Tensor) -> Tensor:
        """Return ``spectra_N1MF``, one for each clip."""
        spectra_NFM = features_BFM.unflatten(1, (-1, self.frames)).flatten(0, 1)
        return spectra_NFM.transpose(1, 2)[:, None]
