"""Samplers choose the frames of a clip. All respect ``media.frames`` and use the container's clock."""

from collections.abc import Iterator
from dataclasses import dataclass

import vlframe

vlframe_api = 1


@dataclass
class FpsParams:
    fps: float = 1.0  # frames a second


@dataclass
class IntervalParams:
    every: float = 1.0  # from one frame to the next
    unit: str = "seconds"  # seconds | frames: of `every` and `offset`
    offset: float = 0.0  # from the beginning of the span to the first frame


@vlframe.hookimpl
def vlframe_components() -> Iterator[vlframe.Component]:
    for name, path, params, summary in (
        ("uniform", "uniform:Uniform", None, "the midpoints of equal parts of the clip (VideoLLaMA 2)"),
        ("fps", "fps:Fps", FpsParams, "so many frames a second; spread over the clip where that is too many"),
        (
            "segments",
            "segments:Segments",
            None,
            "one frame of each equal part: a random one in training, else its middle",
        ),
        (
            "interval",
            "interval:Interval",
            IntervalParams,
            "one frame every so many seconds or frames, from the start on",
        ),
    ):
        yield vlframe.Component("sampler", name, f"vlframe_samplers.{path}", params, summary)
