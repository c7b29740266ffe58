"""Recognise keyframes after which nothing refers to earlier frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from av.packet import Packet

H264_IDR = (5,)
HEVC_IDR = (19, 20)


def is_clean(packet: Packet, codec: str, extradata: bytes | None) -> bool:
    """Return False for the recovery points of H.264 and HEVC, which containers also mark as keyframes.

    They are recognised by the types of the packet's units (ITU-T H.264 table 7-1, H.265 table 7-1), which MP4 and
    Matroska store after their lengths. Other codecs have no such points.
    """
    if codec == "h264":
        return any(unit & 0x1F in H264_IDR for unit in _units(packet, extradata, 4))
    if codec == "hevc":
        return any((unit >> 1) & 0x3F in HEVC_IDR for unit in _units(packet, extradata, 21))
    return True


def _units(packet: Packet, extradata: bytes | None, length_at: int) -> list[int]:
    """Return each unit's first byte. ``length_at``: place of the width of lengths, less one, in the decoder config."""
    if not extradata or len(extradata) <= length_at or extradata[0] != 1:
        return []
    width = (extradata[length_at] & 3) + 1
    data = memoryview(packet)
    units, at = [], 0
    while at + width < len(data):
        units.append(data[at + width])
        at += width + int.from_bytes(data[at : at + width], "big")
    return units
