"""mPLUG-Owl (Ye et al. 2023): its tower with temporal modules, its abstractor, frames, texts, data and checkpoints."""

from collections.abc import Iterator
from pathlib import Path

import vlframe
from vlframe_mplug_owl.settings import AbstractorParams, JsonLinesParams, ProcessorParams, TowerParams

vlframe_api = 1

SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}


@vlframe.hookimpl
def vlframe_components() -> Iterator[vlframe.Component]:
    here = "vlframe_mplug_owl"
    yield vlframe.Component(
        "encoder",
        "mplug_owl_vit",
        f"{here}.tower:Tower",
        TowerParams,
        "CLIP-like tower with a temporal convolution before every block, the last norm on all tokens (mPLUG-Owl)",
        example={**SMALL, "image_size": 56},
    )
    yield vlframe.Component(
        "connector",
        "abstractor",
        f"{here}.abstractor:Abstractor",
        AbstractorParams,
        "learned spatial and temporal queries that read all positions, their sums and an end token (mPLUG-Owl)",
        example={"queries": 6, "depth": 2, "heads": 4, "intermediate_size": 64},
    )
    yield vlframe.Component(
        "sampler",
        "mplug_owl",
        f"{here}.sampler:Sampler",
        None,
        "media.frames frames at equal, rounded distances, starting after half a distance; a short clip repeats some",
    )
    yield vlframe.Component(
        "processor",
        "mplug_owl",
        f"{here}.processor:Processor",
        ProcessorParams,
        "texts and labels exactly as the official mPLUG-Owl code writes them",
    )
    yield vlframe.Component(
        "dataset",
        "mplug_owl",
        f"{here}.dataset:JsonLines",
        JsonLinesParams,
        "conversations in one text with Human: and AI:, from the JSON Lines of mPLUG-Owl",
    )
    yield vlframe.Component(
        "checkpoint_format",
        "mplug_owl",
        f"{here}.checkpoint_format:Format",
        None,
        "the Hugging Face folders of mPLUG-Owl, for images and for videos",
    )


@vlframe.hookimpl
def vlframe_conf() -> Path:
    """Return presets of the released models and their training."""
    return Path(__file__).parent / "conf"
