"""Video-LLaMA (Zhang et al. 2023): its frames, texts, data and checkpoints."""

from collections.abc import Iterator
from pathlib import Path

import vlframe
from vlframe_videollama.settings import (
    FilterCapParams,
    LlavaInstructParams,
    MixtureParams,
    ProcessorParams,
    VideoQAParams,
    WebvidParams,
)

vlframe_api = 1

DATASETS = (
    ("webvid", "Webvid", WebvidParams, "captions of clips in the csv files of WebVid: videoid, page_dir, name"),
    ("filter_cap", "FilterCap", FilterCapParams, "captions of pictures in the filter_cap.json of MiniGPT-4 and LLaVA"),
    ("llava_instruct", "LlavaInstruct", LlavaInstructParams, "conversations about pictures of COCO, as LLaVA has them"),
    ("video_qa", "VideoQA", VideoQAParams, "questions and answers about clips, as VideoChat has them: video, QA"),
    ("videollama", "Mixture", MixtureParams, "several of Video-LLaMA's data sets, each drawn by its weight"),
)


@vlframe.hookimpl
def vlframe_components() -> Iterator[vlframe.Component]:
    here = "vlframe_videollama"
    yield vlframe.Component(
        "sampler",
        "videollama",
        f"{here}.sampler:Uniform",
        None,
        "media.frames frames at equal distances from the first on, rounded down; a short clip gives all it has",
    )
    yield vlframe.Component(
        "sampler",
        "headtail",
        f"{here}.sampler:HeadTail",
        None,
        "in training, random frames: half of them from the clip's first half, half from its second",
    )
    yield vlframe.Component(
        "processor",
        "videollama",
        f"{here}.processor:Processor",
        ProcessorParams,
        "texts, labels and sound exactly as the official Video-LLaMA code has them",
    )
    for name, cls, params, summary in DATASETS:
        yield vlframe.Component("dataset", name, f"{here}.dataset:{cls}", params, summary)
    yield vlframe.Component(
        "checkpoint_format",
        "videollama",
        f"{here}.checkpoint_format:Format",
        None,
        "the files of Video-LLaMA's two branches, over BLIP-2's, ImageBind's and a language model's",
    )


@vlframe.hookimpl
def vlframe_conf() -> Path:
    """Return presets of the released models and their training."""
    return Path(__file__).parent / "conf"
