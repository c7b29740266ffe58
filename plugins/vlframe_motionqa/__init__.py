"""MotionQA: a small generated data set of clips that one must watch, or hear, to answer questions about them."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import vlframe


@dataclass
class MotionQAParams:
    split: str = "train"  # train | validation: no scene is in both, whatever the seeds
    clips: int = 1500  # clips of this split; a clip has one to three questions
    # direction, order and count need several frames, colour and shape need one, sound needs the sound track; flash and
    # beep ask when each of the two is, for models that are to learn sound
    questions: list[str] = field(default_factory=lambda: ["direction", "order", "count", "colour", "shape"])
    size: int = 64  # pixels, width and height; even, 48 to 256
    seconds: float = 2.0  # seconds * fps is the number of frames: a multiple of 8, at least 16
    fps: int = 8
    seed: int = 0
    travel: float = 0.3  # widths of the picture that a moving shape goes; above that, its first place tells more
    folder: str | None = None  # where the clips are kept; null: a folder of vlframe's cache named by these parameters
    # How often training draws the questions of a category beside the others (1 where it is not named); empty: every
    # question equally often.
    weights: dict[str, float] = field(default_factory=dict)


@vlframe.hookimpl
def vlframe_components() -> Iterator[vlframe.Component]:
    yield vlframe.Component(
        "dataset",
        "motionqa",
        "vlframe_motionqa.dataset:MotionQA",
        MotionQAParams,
        "generated mp4 clips of moving, appearing and beeping shapes, with short questions",
    )
