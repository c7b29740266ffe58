"""Frames averaged with weights that fall towards the past."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import vlframe

vlframe_api = 1


@dataclass
class DecayParams:
    half_life: int = 2  # frames after which a frame counts half as much


@vlframe.hookimpl
def vlframe_components() -> Iterator[vlframe.Component]:
    yield vlframe.Component(
        "connector", "decay", "vlframe_decay.connector:Decay", DecayParams, "average that forgets the past"
    )


@vlframe.hookimpl
def vlframe_conf() -> Path:
    return Path(__file__).parent / "conf"
