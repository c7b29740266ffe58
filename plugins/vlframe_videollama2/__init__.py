"""VideoLLaMA 2's official checkpoints and an exact reproduction of its official data path."""

from collections.abc import Iterator
from pathlib import Path

import vlframe
from vlframe_videollama2.settings import OfficialProcessorParams

vlframe_api = 1


@vlframe.hookimpl
def vlframe_components() -> Iterator[vlframe.Component]:
    yield vlframe.Component(
        "checkpoint_format",
        "videollama2",
        "vlframe_videollama2.checkpoint_format:OfficialFormat",
        None,
        "the folders of the official VideoLLaMA 2 code: full, base, LoRA, audio-visual",
    )
    yield vlframe.Component(
        "processor",
        "videollama2",
        "vlframe_videollama2.processor:OfficialProcessor",
        OfficialProcessorParams,
        "texts, labels, frames and sound exactly as the official VideoLLaMA 2 code reads them",
    )


@vlframe.hookimpl
def vlframe_conf() -> Path:
    """Return presets of the released models and the official training stages."""
    return Path(__file__).parent / "conf"
