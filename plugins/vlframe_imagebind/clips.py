"""The audio front end of ImageBind (ImageBind, data.py). L waveform samples, F audio frames, M mel bins."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

FRAME_MS, HOP_MS = 25, 10
MEAN, STD = -4.268, 9.138  # of the training spectrograms


@dataclass(frozen=True)
class Clips:
    """Kaldi filter banks of ``clips`` clips, one after the other: clips * ``frames`` audio frames.

    A spectrogram shorter than ``frames`` is padded with zeros before it is normalised; a longer one is cut.
    """

    seconds: float
    clips: int
    clip_seconds: float
    mels: int
    frames: int
    sampling_rate: int = 16000

    def features(self, waveform_L: Tensor) -> Tensor:
        """Return ``features_FM``, normalised."""
        import torch

        waveform_L = waveform_L[: round(self.seconds * self.sampling_rate)].float()
        waveform_L = torch.nn.functional.pad(waveform_L, (0, max(0, self._least - len(waveform_L))))
        spectra = [self._spectrum(waveform_L[begin:end]) for begin, end in self.spans(len(waveform_L))]
        return (torch.cat(spectra) - MEAN) / STD

    def spans(self, samples: int) -> Iterator[tuple[int, int]]:
        """Yield the bounds of each clip, in samples (pytorchvideo 0.1.5, ConstantClipsPerVideoSampler).

        The first is at the start of the sound; the last ends before its end. A sound shorter than a clip is used once
        per clip. Fractions are used because a float position may be off by one sample.
        """
        length = Fraction(self.clip_seconds)
        step = Fraction(max(samples / self.sampling_rate - length, 0)) / self.clips
        for number in range(self.clips):
            begin = step * number
            yield int(begin * self.sampling_rate), int((begin + length) * self.sampling_rate)

    def _spectrum(self, waveform_L: Tensor) -> Tensor:
        import torch
        from torchaudio.compliance.kaldi import fbank

        spectrum_FM = fbank(
            waveform_L[None],
            htk_compat=True,
            sample_frequency=self.sampling_rate,
            use_energy=False,
            window_type="hanning",
            num_mel_bins=self.mels,
            dither=0.0,
            frame_length=FRAME_MS,
            frame_shift=HOP_MS,
        )[: self.frames]
        return torch.nn.functional.pad(spectrum_FM, (0, 0, 0, self.frames - len(spectrum_FM)))

    @property
    def _least(self) -> int:
        """Return the length of a sound of one window, the least possible."""
        return self.sampling_rate * FRAME_MS // 1000
