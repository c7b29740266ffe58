"""How a stored picture is to be shown: rotated, mirrored, or both, according to the container's display matrix."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vlframe import MediaError

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

SLANT = 0.02  # of the larger part of a matrix row: about one degree


@dataclass(frozen=True)
class Orientation:
    """Swap the axes (``swapped``), then reverse the columns (``flip_x``), then the rows (``flip_y``)."""

    swapped: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @property
    def mirrored(self) -> bool:
        """Return whether the picture is mirrored, so that no rotation is enough."""
        return (self.swapped + self.flip_x + self.flip_y) % 2 == 1

    def apply(self, frame_YXC: np.ndarray) -> np.ndarray:
        frame_YXC = frame_YXC.swapaxes(0, 1) if self.swapped else frame_YXC
        return frame_YXC[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1]


def orientation(frame: VideoFrame) -> Orientation:
    """Return how a decoded frame is to be shown. ``MediaError`` for a matrix that shears it.

    The matrix is ((a, b), (c, d)), with others for translation and projection: stored (x, y) is shown at (ax + cy, bx +
    dy) (ISO/IEC 14496-12, 8.3.2). Rows of zeros, which some writers leave, mean nothing.
    """
    from av.sidedata.sidedata import Type

    side_data: Any = frame.side_data
    data = side_data.get(Type.DISPLAYMATRIX)
    if data is None:
        return Orientation()
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(data))
    if not (a or b) or not (c or d):
        return Orientation()
    if max(abs(b), abs(c)) <= SLANT * min(abs(a), abs(d)):
        return Orientation(False, a < 0, d < 0)
    if max(abs(a), abs(d)) <= SLANT * min(abs(b), abs(c)):
        return Orientation(True, c < 0, b < 0)
    raise MediaError(
        f"its display matrix turns the picture by {-frame.rotation % 360} degrees; only quarter turns and mirroring "
        "are understood. Encode it upright: ffmpeg -i <file> <new file>"
    )
