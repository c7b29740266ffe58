"""Video-ChatGPT (Maaz et al. 2023): its pooling of CLIP's patches, its frames, texts, data and checkpoints."""

from collections.abc import Iterator
from pathlib import Path

import vlframe
from vlframe_videochatgpt.settings import MeanPoolsParams, ProcessorParams, VideoInstructParams

vlframe_api = 1


@vlframe.hookimpl
def vlframe_components() -> Iterator[vlframe.Component]:
    here = "vlframe_videochatgpt"
    yield vlframe.Component(
        "connector",
        "mean_pools",
        f"{here}.pools:MeanPools",
        MeanPoolsParams,
        "the mean of each frame and the mean of each position, then one linear map (Video-ChatGPT)",
        example={},  # it has no parameters: its own size costs nothing
    )
    yield vlframe.Component(
        "sampler",
        "videochatgpt",
        f"{here}.sampler:Sampler",
        None,
        "up to media.frames frames, the middles of rounded parts; a short clip does not repeat frames",
    )
    yield vlframe.Component(
        "processor",
        "videochatgpt",
        f"{here}.processor:Processor",
        ProcessorParams,
        "texts and labels exactly as the official Video-ChatGPT code writes them",
    )
    yield vlframe.Component(
        "dataset",
        "video_instruct",
        f"{here}.dataset:VideoInstruct",
        VideoInstructParams,
        "questions and answers about clips in the layout of VideoInstruct-100K: video_id, q, a",
    )
    yield vlframe.Component(
        "checkpoint_format",
        "videochatgpt",
        f"{here}.checkpoint_format:Format",
        None,
        "the projector files and whole folders of the official Video-ChatGPT code",
    )


@vlframe.hookimpl
def vlframe_conf() -> Path:
    """Return presets of the released model and its training."""
    return Path(__file__).parent / "conf"
