"""Recorded frames of official code beside those of our front ends. T frames, C colours, Y X pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from torch import Tensor

from vlframe import Comparison, SquarePixels, read_json, read_tensors

SYSTEM = "frame transforms"
CLIP = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # mean and standard deviation
ATOL = 1e-6  # of normalised values, closer than the recording's own; bytes are to be equal


def own_front_end(recording: Path) -> SquarePixels | None:
    """Return the front end of an encoder of the recorded size; None if this is no recording of only frames."""
    about = recording.with_suffix(".json")
    said = read_json(about) if about.is_file() else {}
    return SquarePixels(said["config"]["size"], *CLIP, "bicubic", "crop") if said.get("system") == SYSTEM else None


def compared(recording: Path, output: str, made: Callable[[Tensor], Tensor]) -> Iterator[Comparison]:
    """Compare what is called ``output``, followed by a number and a layout; it is ``made`` of the frames_TYXC of that
    number.
    """
    recorded = read_tensors(recording)
    for name, theirs in recorded.items():
        if name.startswith(f"out/{output}"):
            number = name.removeprefix(f"out/{output}").partition("_")[0]
            ours = made(recorded[f"in/frames{number}_thwc"])
            yield Comparison.of(name, ours, theirs, ATOL if theirs.is_floating_point() else 0.0)
