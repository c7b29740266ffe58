"""VideoChat2 (Li et al. 2023, "MVBench"): its texts, data and checkpoints."""

from collections.abc import Iterator
from pathlib import Path

import vlframe
from vlframe_videochat2.settings import (
    CaptionsParams,
    InstructionsParams,
    MixtureParams,
    ProcessorParams,
    SamplerParams,
)

vlframe_api = 1

DATASETS = (
    ("videochat2_qa", "Instructions", InstructionsParams, "instructions, questions and answers about clips "
     "or images: video or image, QA"),
    ("videochat2_captions", "Captions", CaptionsParams, "captions of clips or images: video or image, caption"),
    ("videochat2", "Mixture", MixtureParams, "several of VideoChat2's files, each row once"),
)  # fmt: skip


@vlframe.hookimpl
def vlframe_components() -> Iterator[vlframe.Component]:
    here = "vlframe_videochat2"
    yield vlframe.Component(
        "sampler",
        "videochat2",
        f"{here}.sampler:Sampler",
        SamplerParams,
        "media.frames frames at equal, rounded distances; in training a random one of each equal part",
    )
    yield vlframe.Component(
        "processor",
        "videochat2",
        f"{here}.processor:Processor",
        ProcessorParams,
        "texts, labels and instructions exactly as the official VideoChat2 code has them",
    )
    for name, cls, params, summary in DATASETS:
        yield vlframe.Component("dataset", name, f"{here}.dataset:{cls}", params, summary)
    yield vlframe.Component(
        "checkpoint_format",
        "videochat2",
        f"{here}.checkpoint_format:Format",
        None,
        "the files of VideoChat2's stages over that of its first, beside a language model",
    )


@vlframe.hookimpl
def vlframe_conf() -> Path:
    """Return the folder of presets: the released models and their training."""
    return Path(__file__).parent / "conf"
