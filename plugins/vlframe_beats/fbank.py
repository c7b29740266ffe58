"""The audio front end of BEATs. L waveform samples, F audio frames, M mel bins."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

MELS = 128
FRAME_SECONDS = 0.025
HOP_SECONDS = 0.010


@dataclass(frozen=True)
class Fbank:
    """Kaldi filter banks of 25 ms every 10 ms, for a waveform in the range of 16-bit integers.

    ``shortest`` is the number of frames to which a shorter sound is padded, so that it fills a patch.
    """

    seconds: float
    pad: bool
    shortest: int
    sampling_rate: int = 16000

    def features(self, waveform_L: "Tensor") -> "Tensor":
        """Return ``features_FM``, not normalised: the model does that. A float64 waveform is not rounded first."""
        import torch
        from torchaudio.compliance.kaldi import fbank

        longest = round(self.seconds * self.sampling_rate)
        least = longest if self.pad else self._samples(self.shortest)
        waveform_L = waveform_L[:longest]
        waveform_L = waveform_L if waveform_L.dtype == torch.float64 else waveform_L.float()
        waveform_L = torch.nn.functional.pad(waveform_L, (0, max(0, least - len(waveform_L))))
        return fbank(
            waveform_L[None] * 2**15,
            num_mel_bins=MELS,
            sample_frequency=self.sampling_rate,
            frame_length=FRAME_SECONDS * 1000,
            frame_shift=HOP_SECONDS * 1000,
        )

    def _samples(self, frames: int) -> int:
        return round((FRAME_SECONDS + (frames - 1) * HOP_SECONDS) * self.sampling_rate)
