"""Decodes sound from files. L waveform samples, F audio frames, M audio features."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vlframe.contracts.timeline import Timeline
from vlframe.errors import MediaError, NoAudioTrack

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from vlframe.contracts.processor import MediaSource
    from vlframe.contracts.reader import ClipPath
    from vlframe.contracts.sample import Media


def no_sound(path: ClipPath, start: float | None, end: float | None) -> str:
    """Return the beginning of an error about a span without sound; it names those bounds that were given."""
    given = " and ".join(f"{name}={value}" for name, value in (("start", start), ("end", end)) if value is not None)
    return f"{path}: no sound" + (f" between {given}" if " and " in given else f" with {given}" if given else "")


class SoundDecoder:
    """Decodes sound files and the tracks of videos; a missing track follows ``media.missing_audio``."""

    def timeline(self, media: Media, source: MediaSource, generator: np.random.Generator) -> Timeline:
        """Return an empty timeline: a sound's length, and so its tokens, are known only after decoding."""
        return Timeline(media)

    def decode(self, timeline: Timeline, source: MediaSource) -> Tensor:
        """Return float32 ``features_FM`` of at most ``front_end.seconds``."""
        import torch

        media, front_end = timeline.media, source.front_end
        begin = max(media.start or 0.0, 0.0)
        end = begin + front_end.seconds if media.end is None else min(media.end, begin + front_end.seconds)
        try:
            waveform_L = source.reader.audio(media.path, front_end.sampling_rate, media.start, end)
        except NoAudioTrack:
            if not media.track or source.config.missing_audio != "silence":
                raise
            waveform_L = self._silence(media, source)
        limit = round(front_end.seconds * front_end.sampling_rate)
        return front_end.features(torch.from_numpy(waveform_L[:limit]))

    def _silence(self, media: Media, source: MediaSource) -> np.ndarray:
        """Return zeros for the length of the video."""
        import numpy as np

        begin = max(media.start or 0.0, 0.0)
        info = source.reader.info(media.path)
        end = info.time(0) + info.seconds
        end = end if media.end is None else min(media.end, end)
        if not begin < end:
            raise MediaError(f"{no_sound(media.path, media.start, media.end)}; it ends at {end:.3f} s")
        seconds = min(end - begin, source.front_end.seconds)
        return np.zeros(max(1, round(seconds * source.front_end.sampling_rate)), np.float32)
