"""Read sound as the official audio-visual branch does (videollama2/mm_utils.py).

L samples of a waveform, F audio frames, M audio features.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vlframe import MediaError, NoAudioTrack, no_sound, open_container

if TYPE_CHECKING:
    from torch import Tensor

    from vlframe import AudioFrontEnd, Media, MediaSource
    from vlframe_videollama2.settings import OfficialProcessorParams

log = logging.getLogger(__name__)


def sound(media: Media, source: MediaSource, settings: OfficialProcessorParams) -> Tensor:
    """Return float32 ``features_FM`` of exactly the encoder's window (30 s officially), padded with silence."""
    import torch

    spec = source.front_end
    waveform_L = of_track(media, source, spec, settings) if media.track else of_file(media, source, spec, settings)
    features_FM = spec.features(torch.from_numpy(waveform_L))
    if settings.round_to_bf16:
        features_FM = features_FM.to(torch.bfloat16)
    return features_FM.float()


def of_file(media: Media, source: MediaSource, spec: AudioFrontEnd, settings: OfficialProcessorParams) -> np.ndarray:
    """Return float64 ``waveform_L`` of a sound file (process_audio_file): a window of one channel, resampled."""
    if settings.channel == "first":
        waveform_L, rate = first_channel(media.path)
        begin = round(max(media.start or 0.0, 0.0) * rate)
        waveform_L = waveform_L[begin : None if media.end is None else round(media.end * rate)]
        if not len(waveform_L):
            raise MediaError(no_sound(media.path, media.start, media.end))
    else:
        rate = spec.sampling_rate
        waveform_L = source.reader.audio(media.path, rate, media.start, media.end).astype(np.float64)
    return resampled(window(waveform_L, round(spec.seconds * rate), media, settings), rate, spec.sampling_rate)


def of_track(media: Media, source: MediaSource, spec: AudioFrontEnd, settings: OfficialProcessorParams) -> np.ndarray:
    """Return float32 ``waveform_L`` of a video's track (process_audio_from_video): short clips of it, joined."""
    start, end = (media.start, media.end) if settings.track_bounds else (None, None)
    longest = round(spec.seconds * spec.sampling_rate)
    try:
        waveform_L = source.reader.audio(media.path, spec.sampling_rate, start, end)
    except MediaError as error:
        silent = settings.missing_track == "silence" or source.config.missing_audio == "silence"
        if not silent or (settings.missing_track == "policy" and not isinstance(error, NoAudioTrack)):
            raise
        log.warning("%s; it is taken for silence", error)
        waveform_L = np.zeros(longest, np.float32)
    if settings.track_clips:
        seconds = len(waveform_L) / spec.sampling_rate
        spans = clip_spans(seconds, settings.track_clips, settings.track_clip_seconds)
        pieces = [
            waveform_L[int(begin * spec.sampling_rate) : int(finish * spec.sampling_rate)] for begin, finish in spans
        ]
        waveform_L = np.concatenate(pieces)
    return window(waveform_L, longest, media, settings)


def clip_spans(seconds: float, clips: int, clip_seconds: float) -> Iterator[tuple[Fraction, Fraction]]:
    """Yield the bounds of each clip (pytorchvideo 0.1.5, ConstantClipsPerVideoSampler).

    The first is at the start of the track; the last ends before its end. A track shorter than a clip is used once per
    clip.
    """
    length = Fraction(clip_seconds)
    step = Fraction(max(seconds - length, 0)) / clips
    for number in range(clips):
        yield step * number, step * number + length


def window(waveform_L: np.ndarray, longest: int, media: Media, settings: OfficialProcessorParams) -> np.ndarray:
    """Return exactly ``longest`` samples: a part of a longer sound, or a shorter one padded with silence."""
    spare = len(waveform_L) - longest
    if spare > 0:
        begin = crop_start(spare, media, settings)
        waveform_L = waveform_L[begin : begin + longest]
    return np.pad(waveform_L, (0, longest - len(waveform_L)))


def crop_start(spare: int, media: Media, settings: OfficialProcessorParams) -> int:
    """Return where to crop a sound that is ``spare`` samples too long."""
    if settings.crop == "start":
        return 0
    if settings.crop == "seeded":
        return random.Random(f"{settings.seed}/{media.path.name}/{spare}").randint(0, spare)
    return random.randint(0, spare)  # from Python's own generator, as in the official code


def first_channel(path: Path) -> tuple[np.ndarray, int]:
    """Return float64 ``waveform_L`` in [-1, 1] of the first channel, and its rate in Hz."""
    import av

    try:
        with open_container(path) as container:
            if not container.streams.audio:
                raise NoAudioTrack(f"{path}: it has no audio track")
            stream = container.streams.audio[0]
            resampler = av.AudioResampler(format="dblp")
            frames = [out for frame in container.decode(stream) for out in resampler.resample(frame)]
            frames += resampler.resample(None)
            chunks = [frame.to_ndarray()[0] for frame in frames]
            return np.concatenate([np.empty(0), *chunks]), stream.rate
    except (av.FFmpegError, OSError, ValueError) as error:
        if isinstance(error, MediaError):
            raise
        reason = getattr(error, "strerror", None) or str(error)
        raise MediaError(f"{path}: its sound cannot be read: {reason}") from error


def resampled(waveform_L: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """Resample by cutting (or extending) the spectrum of the whole waveform (librosa.resample with res_type='fft')."""
    if rate == wanted:
        return waveform_L
    length = int(np.ceil(len(waveform_L) * (float(wanted) / rate)))
    kept = min(length, len(waveform_L))
    spectrum_Q = np.fft.rfft(waveform_L)[: kept // 2 + 1]
    if kept % 2 == 0 and length != len(waveform_L):  # the bin that stands for two, or becomes two
        spectrum_Q[kept // 2] *= 2 if length < len(waveform_L) else 0.5
    return np.fft.irfft(spectrum_Q / (len(waveform_L) / length), n=length)
