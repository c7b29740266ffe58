"""VideoChat (Li et al. 2023): its frames, texts, data and checkpoints."""

from collections.abc import Iterator
from pathlib import Path

import vlframe
from vlframe_videochat.settings import CaptionsParams, MixtureParams, ProcessorParams, QAParams, SamplerParams

vlframe_api = 1

DATASETS = (
    ("videochat_qa", "QA", QAParams, "VideoChat's questions and answers about clips or images"),
    ("videochat_captions", "Captions", CaptionsParams, "VideoChat's captions of clips or images"),
    ("videochat", "Mixture", MixtureParams, "several files of these layouts, each row once in an epoch"),
)


@vlframe.hookimpl
def vlframe_components() -> Iterator[vlframe.Component]:
    here = "vlframe_videochat"
    yield vlframe.Component(
        "sampler",
        "videochat",
        f"{here}.sampler:Sampler",
        SamplerParams,
        "media.frames frames at equal rounded distances; in training, a random frame of each equal part",
    )
    yield vlframe.Component(
        "processor",
        "videochat",
        f"{here}.processor:Processor",
        ProcessorParams,
        "texts, labels and images exactly as in the official VideoChat code",
    )
    for name, cls, params, summary in DATASETS:
        yield vlframe.Component("dataset", name, f"{here}.dataset:{cls}", params, summary)
    yield vlframe.Component(
        "checkpoint_format",
        "videochat",
        f"{here}.checkpoint_format:Format",
        None,
        "VideoChat's file, over EVA's ViT, BLIP-2's file and a language model",
    )


@vlframe.hookimpl
def vlframe_conf() -> Path:
    """Return presets of the released model and its training."""
    return Path(__file__).parent / "conf"
