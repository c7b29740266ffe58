"""Measure the cost of decoding in a separate process."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from helpers.clips import ClipSpec, picture, write_clip
from PIL import Image

from vlframe.media.images import load_image
from vlframe.media.process import ReaderProcess
from vlframe.registry.registry import Registry

FRAMES = 150
WANTED = [round((part + 0.5) * (FRAMES - 1) / 8) for part in range(8)]
REPEATS = 15


def cost(registry: Registry) -> list[list[str]]:
    """Return rows of what is read, and milliseconds without and with the process; the two alternate."""
    reader = registry.build("reader", {"name": "auto"})
    with tempfile.TemporaryDirectory() as folder:
        small = write_clip(Path(folder), ClipSpec("small.mp4", frames=FRAMES, height=360, width=640))
        large = write_clip(Path(folder), ClipSpec("large.mp4", frames=FRAMES, height=1080, width=1920))
        image = Path(folder, "image.jpg")
        Image.fromarray(picture(3, 480, 640)).save(image)
        started = time.perf_counter()
        process = ReaderProcess(reader, 60, "auto")
        process.picture_count(image)
        rows = [["the start of the process", "", _ms([time.perf_counter() - started])]]
        for name, path in (("8 frames of 640x360", small), ("8 frames of 1920x1080", large)):
            rows.append(_row(name, lambda one, path=path: (one.info(path), one.frames(path, WANTED)), reader, process))
        here, there = (lambda _: load_image(image)), (lambda _: process.load_image(image))
        rows.append(["an image of 640x480", *(_ms(times) for times in _turns(here, there))])
        process.close()
    return rows


def _row(name: str, read: Callable[[Any], Any], reader: Any, process: ReaderProcess) -> list[str]:
    return [name, *(_ms(times) for times in _turns(lambda _: read(reader), lambda _: read(process)))]


def _turns(*sides: Callable[[None], Any]) -> list[list[float]]:
    times: list[list[float]] = [[] for _ in sides]
    for _ in range(REPEATS):
        for side, found in zip(sides, times, strict=True):
            started = time.perf_counter()
            side(None)
            found.append(time.perf_counter() - started)
    return times


def _ms(times: list[float]) -> str:
    return f"{1000 * median(times):.1f}"
