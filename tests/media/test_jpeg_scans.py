"""Every cut of a JPEG: its data is complete only where its end mark begins."""

import io

import numpy as np
import pytest
from PIL import Image

from vlframe.media.jpeg_scans import unended_at

KINDS = {
    "baseline": {},
    "baseline, full colour": {"subsampling": 0},
    "baseline, own tables": {"subsampling": 1, "optimize": True},
    "progressive": {"progressive": True},
    "progressive, full colour": {"progressive": True, "subsampling": 0, "quality": 100},
    "restart markers": {"restart_marker_blocks": 3},
    "progressive, restart markers": {"progressive": True, "restart_marker_blocks": 2},
}
MODES = ("RGB", "L", "CMYK")


def encoded(mode: str, height: int = 21, width: int = 27, **options: object) -> bytes:
    y, x = np.mgrid[:height, :width]
    slope_YXC = np.stack([x * 9, y * 11, (x + y) * 7], axis=-1).astype(np.uint8)
    to = io.BytesIO()
    Image.fromarray(slope_YXC).convert(mode).save(to, "JPEG", **{"quality": 80, **options})
    return to.getvalue()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS)
def test_data_is_complete_up_to_the_end_mark_and_nowhere_before(mode: str, kind: str) -> None:
    content = encoded(mode, **KINDS[kind])
    end = len(content) - 2
    assert unended_at(content) is None  # it has its mark
    assert unended_at(content[:-2]) == unended_at(content[:-1]) == end
    assert [cut for cut in range(end) if unended_at(content[:cut]) is not None] == []


def test_a_scan_may_end_with_a_byte_that_is_stuffed() -> None:
    """``FF 00`` is one byte of data: without its second half it is the beginning of a mark, and a byte is missing."""
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(600):
        to = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(to, "JPEG", quality=95)
        content = to.getvalue()
        assert unended_at(content[:-2]) == len(content) - 2
        if content[-4:-2] == b"\xff\0":
            found += 1
            assert unended_at(content[:-3]) is None
    assert found


def test_a_progressive_picture_that_lacks_its_last_scans_is_incomplete() -> None:
    content = encoded("RGB", progressive=True)
    starts = [at for at in range(len(content)) if content[at : at + 2] in (b"\xff\xda", b"\xff\xc4")]
    assert len(starts) > 10
    assert [at for at in starts if unended_at(content[:at]) is not None] == []


def test_kinds_that_are_not_followed_are_none() -> None:
    content = encoded("RGB")
    frame = content.index(b"\xff\xc0")
    for kind in (b"\xc3", b"\xc9"):  # lossless, arithmetic codes
        assert unended_at(content[: frame + 1] + kind + content[frame + 2 : -2]) is None
    assert unended_at(content[: frame + 5] + b"\0\0" + content[frame + 7 : -2]) is None  # its height follows the scan
    assert unended_at(b"\xff\xd8") is None
    assert unended_at(b"\xff\xd8\xff\xda\0\x08") is None
