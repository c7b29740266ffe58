"""Frames by decord, for clips that decord reads correctly.

decord 0.6 bundles FFmpeg 4.1. Its seeks give wrong frames in AVI, after keyframes that are followed by earlier pictures
(open GOP: the default of many HEVC encoders) and at recovery points; it counts frames that an edit list hides, and can
then wait for them for ever. So the packets are inspected first (``clip``), and it never seeks in such files. Nor does
it report which pictures it has repaired: PyAV decodes them once more to find out. That makes it the slower reader; it
exists for those who want decord's own frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from vlframe import ClipPath, ConfigError, MediaError
from vlframe_readers.clip import Clip
from vlframe_readers.pictures import picture_clip
from vlframe_readers.pyav import ConfiguredPyavReader, checked, each

CONTAINERS = ("mov", "matroska", "avi")
CODECS = ("h264", "hevc", "mpeg4", "vp9", "mjpeg", "mpeg2video")
# All FFmpeg versions convert these to RGB alike; for others (and odd numbers of subsampled rows) interpolation changed.
HALF_HEIGHT = ("yuv420p", "yuvj420p")
FULL_HEIGHT = ("yuv444p", "gray")


class DecordReader(ConfiguredPyavReader):
    """Reads frames by decord; a clip that decord cannot read exactly is a ``MediaError``. Sound is PyAV's."""

    def __init__(self, *, picture_fps: float) -> None:
        super().__init__(picture_fps=picture_fps)
        if find_spec("decord") is None:
            raise ConfigError("reader=decord needs the package decord, which is not installed; reader=auto does not")

    def frames(self, path: ClipPath, indices: Sequence[int]) -> np.ndarray:
        """Return RGB uint8 ``frames_TYXC``, rotated upright, in the order of ``indices``; an index may occur twice."""
        if picture_clip(path, self.picture_fps) is not None:
            return super().frames(path, indices)
        held = checked(path, indices)
        if reason := refusal(held):
            raise MediaError(f"{path}: decord does not read this exactly ({reason}); use reader=auto or reader=pyav")
        wanted = sorted(set(indices))
        each(path, held, wanted, lambda frame: None)  # decord does not report what it has repaired; PyAV does
        import decord
        from decord._ffi.base import DECORDError

        decord.logging.set_level(decord.logging.QUIET)
        try:
            video = decord.VideoReader(str(path), ctx=decord.cpu(0), num_threads=1)
            if len(video) != held.info.frames:
                raise MediaError(f"{path}: decord counts {len(video)} frames and it has {held.info.frames}")
            found = video.get_batch(wanted).asnumpy() if seeks_exactly(held) else _in_order(video, wanted)
        except (DECORDError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise MediaError(f"{path}: decord cannot read this ({reason}); use reader=auto or reader=pyav") from error
        position = {index: at for at, index in enumerate(wanted)}
        return found[[position[index] for index in indices]]


def refusal(held: Clip) -> str | None:
    """Return why decord must not read this clip; None if it may."""
    if held.container not in CONTAINERS:
        return f"a {held.container} file"
    if held.codec not in CODECS:
        return f"codec {held.codec}"
    if held.video_streams > 1:
        return f"{held.video_streams} video streams"
    if held.container != "avi" and not held.times:
        return "frames without a time of their own"
    if held.pixel_format not in HALF_HEIGHT + FULL_HEIGHT:
        return f"pixel format {held.pixel_format}"
    if held.piped:  # decord reserves memory for that number, and ends the process
        return "its head does not state its number of frames; ffmpeg -i <file> -c copy <new file>.avi mends it"
    if held.container == "avi" and held.info.times is not None:
        return "dropped frames"
    if held.orientation.mirrored:
        return "its display matrix mirrors it"
    if held.pixel_format in HALF_HEIGHT and held.rows % 2:
        return f"{held.rows} rows, an odd number"
    return None


def seeks_exactly(held: Clip) -> bool:
    return held.closed and held.container != "avi"


def _in_order(video: Any, wanted: Sequence[int]) -> np.ndarray:
    """Read frames one after the other, without seeks (``skip_frames`` loses count after keyframes)."""
    found = []
    for index in range(wanted[-1] + 1):
        frame = video.next()
        if index in wanted:
            found.append(frame.asnumpy())
    return np.stack(found)
