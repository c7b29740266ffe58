"""Checks of front ends that replace an encoder's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vlframe.media.native_pixels import NativePixels
from vlframe.media.pixels import SquarePixels
from vlframe.testing.subject import Subject
from vlframe.testing.video import check_front_end

SIZE, PATCH = 32, 8
HALF = (0.5, 0.5, 0.5)


def check_pixels(
    component: str | type,
    params: Mapping[str, Any] | None = None,
    *,
    own: Any = None,
    plugins: Sequence[str] = (),
) -> None:
    """Check a front end of pictures. ``own`` is that of the encoder it stands before; None: a square of 32 pixels, or
    one that takes any size.
    """
    subject = Subject("pixels", component, params or {}, plugins)
    offered = (
        [own]
        if own is not None
        else [SquarePixels(SIZE, HALF, HALF), NativePixels(PATCH, 16 * PATCH**2, 64 * PATCH**2, HALF, HALF)]
    )
    refusals = []
    for front_end in offered:
        try:
            built = subject.build(own=front_end)
        except ValueError as error:  # ConfigError is one: it is made for encoders of the other kind
            refusals.append(f"{type(front_end).__name__}: {error}")
            continue
        check_front_end(subject, built)
    subject.passed("layout() and prepare() agree on pictures of several sizes, and it can be sent to data workers")
    if len(refusals) == len(offered):
        subject.fail(f"is built before none of these ({'; '.join(refusals)}); give own= that it is made for")
