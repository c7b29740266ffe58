"""The sound front end of Whisper. L waveform samples, F audio frames, M mel bins, Q frequencies."""

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

SAMPLING_RATE = 16000
WINDOW = 400  # samples, 25 ms
HOP = 160  # samples, 10 ms
FLOOR = 8.0  # powers of ten below the loudest


@dataclass(frozen=True)
class LogMel:
    """Log-mel spectrogram of a window of ``seconds``: a shorter sound is followed by silence, a longer one is cut."""

    seconds: float
    mels: int
    sampling_rate: int = SAMPLING_RATE

    def features(self, waveform_L: "Tensor") -> "Tensor":
        """Return ``features_FM``, scaled so that the loudest decade is about 1."""
        import torch

        length = round(self.seconds * SAMPLING_RATE)
        waveform_L = waveform_L[:length].float()
        waveform_L = torch.nn.functional.pad(waveform_L, (0, length - len(waveform_L)))
        spectrum_QF = torch.stft(waveform_L, WINDOW, HOP, window=torch.hann_window(WINDOW), return_complex=True)
        power_FQ = spectrum_QF[:, :-1].abs().square().t()  # the last frame is beyond the window
        logs_FM = (power_FQ @ _filters(self.mels)).clamp(min=1e-10).log10()
        return (logs_FM.clamp(min=logs_FM.max() - FLOOR) + 4.0) / 4.0


@cache
def _filters(mels: int) -> "Tensor":
    """Return ``filters_QM``: Slaney's mel scale and area norm, 0 to 8 kHz."""
    from torchaudio.functional import melscale_fbanks

    return melscale_fbanks(WINDOW // 2 + 1, 0.0, SAMPLING_RATE / 2, mels, SAMPLING_RATE, "slaney", "slaney")
