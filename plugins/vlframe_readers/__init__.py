"""Readers of media files: the libraries that decode them."""

from dataclasses import dataclass, field
from typing import Any

import vlframe

vlframe_api = 1


@dataclass
class ReaderParams:
    picture_fps: float = 1.0  # pictures per second in a clip that is a list or a folder of pictures


@dataclass
class SuffixParams:
    readers: dict[str, Any] = field(default_factory=dict)  # by suffix, like {avi: pyav}
    reader: Any = field(default_factory=lambda: {"name": "auto"})  # for all other files


@vlframe.hookimpl
def vlframe_components():
    rows = {
        "auto": (
            "pyav:ConfiguredPyavReader",
            "the reader that is right about most files, whichever that is: today pyav",
        ),
        "decord": ("decord:DecordReader", "frames by decord; clips it is known to read wrongly are refused"),
        "pyav": (
            "pyav:ConfiguredPyavReader",
            "frames and sound by PyAV (FFmpeg); damage that FFmpeg notices is refused",
        ),
    }
    for name, (path, summary) in rows.items():
        yield vlframe.Component("reader", name, f"vlframe_readers.{path}", ReaderParams, summary)
    yield vlframe.Component(
        "reader",
        "by_suffix",
        "vlframe_readers.by_suffix:SuffixReader",
        SuffixParams,
        "a different reader for each file suffix",
    )
