"""MotionQA: a small generated data set whose questions cannot be answered without watching, or hearing, the clips."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import vlframe

vlframe_api = 1


@dataclass
class MotionQAParams:
    split: str = "train"  # train | validation: they share no scene, whatever the seeds
    clips: int = 1500  # clips of this split; a clip has one to three questions
    # direction, order and count need several frames, colour and shape need one, sound needs the sound track; flash and
    # beep ask for the time of each, to help models learn sound
    questions: list[str] = field(default_factory=lambda: ["direction", "order", "count", "colour", "shape"])
    size: int = 64  # pixels, width and height; even, 48 to 256
    seconds: float = 2.0  # seconds * fps is the number of frames: a multiple of 8, at least 16
    fps: int = 8
    seed: int = 0
    travel: float = 0.3  # distance a moving shape travels, in picture widths; above that, its start reveals more
    folder: str | None = None  # where the clips are stored; null: a cache folder named by these parameters
    # Relative weight of each category's questions in training (1 if not named); empty: every question equally often.
    weights: dict[str, float] = field(default_factory=dict)
    # Questions that follow the first in one conversation, if the clip has an answer to them: the encoder and the
    # connector then process the clip once for all of them. Only for training.
    also: list[str] = field(default_factory=list)


@vlframe.hookimpl
def vlframe_components() -> Iterator[vlframe.Component]:
    yield vlframe.Component(
        "dataset",
        "motionqa",
        "vlframe_motionqa.dataset:MotionQA",
        MotionQAParams,
        "generated mp4 clips of moving, appearing and beeping shapes, with short questions",
    )


@vlframe.hookimpl
def vlframe_conf() -> Path:
    """Return presets of MotionQA for training and for evaluation."""
    return Path(__file__).parent / "conf"
