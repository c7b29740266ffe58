"""VideoLLaMA 2's official checkpoints and its official data path, to the letter."""

from collections.abc import Iterator

import vlframe
from vlframe_videollama2.settings import OfficialDataParams


@vlframe.hookimpl
def vlframe_components() -> Iterator[vlframe.Component]:
    yield vlframe.Component(
        "layout",
        "videollama2",
        "vlframe_videollama2.layout:OfficialLayout",
        None,
        "the folders of the official VideoLLaMA 2 code: full, base, LoRA, audio-visual",
    )
    yield vlframe.Component(
        "protocol",
        "videollama2",
        "vlframe_videollama2.protocol:OfficialData",
        OfficialDataParams,
        "texts, labels, frames and sound exactly as the official VideoLLaMA 2 code reads them",
    )
