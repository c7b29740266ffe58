"""Read sound as the official code does (ImageBind/data.py): the first channel, with torchaudio's resampling.

L samples of a waveform.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vlframe import MediaError, NoAudioTrack, no_sound, open_container

if TYPE_CHECKING:
    from torch import Tensor

    from vlframe import Media


def first_channel(media: Media) -> tuple[Tensor, int]:
    """Return float32 ``waveform_L`` in [-1, 1] of a file's first channel between its bounds, and its rate in Hz."""
    import av
    import torch

    path = media.path
    try:
        with open_container(path) as container:
            if not container.streams.audio:
                raise NoAudioTrack(f"{path}: it has no audio track")
            stream = container.streams.audio[0]
            resampler = av.AudioResampler(format="fltp")
            frames = [out for frame in container.decode(stream) for out in resampler.resample(frame)]
            frames += resampler.resample(None)
            rate = stream.rate
    except (av.FFmpegError, OSError, ValueError) as error:
        if isinstance(error, MediaError):
            raise
        reason = getattr(error, "strerror", None) or str(error)
        raise MediaError(f"{path}: its sound cannot be read: {reason}") from error
    wave_L = np.concatenate([np.empty(0, np.float32), *(frame.to_ndarray()[0] for frame in frames)])
    wave_L = wave_L[round(max(media.start or 0.0, 0.0) * rate) : None if media.end is None else round(media.end * rate)]
    if not len(wave_L):
        raise MediaError(no_sound(path, media.start, media.end))
    return torch.from_numpy(wave_L), rate


def resampled(wave_L: Tensor, rate: int, wanted: int) -> Tensor:
    """Resample a waveform."""
    from torchaudio.functional import resample

    return wave_L if rate == wanted else resample(wave_L, rate, wanted)
