"""BLIP-2 (Li et al. 2023): its checkpoints, and the recipe of its first stage."""

from collections.abc import Iterator
from pathlib import Path

import vlframe

vlframe_api = 1


@vlframe.hookimpl
def vlframe_components() -> Iterator[vlframe.Component]:
    yield vlframe.Component(
        "checkpoint_format",
        "blip2",
        "vlframe_blip2.checkpoint_format:Format",
        None,
        "BLIP-2's file of its first stage, with or without one of its second over it, beside an OPT",
    )


@vlframe.hookimpl
def vlframe_conf() -> Path:
    """Return the Q-Former with its heads, and the first stage."""
    return Path(__file__).parent / "conf"
