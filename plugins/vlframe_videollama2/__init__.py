"""VideoLLaMA 2's official checkpoints and its official data path, to the letter."""

from collections.abc import Iterator

import vlframe


@vlframe.hookimpl
def vlframe_components() -> Iterator[vlframe.Component]:
    yield vlframe.Component(
        "layout",
        "videollama2",
        "vlframe_videollama2.layout:OfficialLayout",
        None,
        "the folders of the official VideoLLaMA 2 code: full, base, LoRA, audio-visual",
    )
