"""What a plugin says about itself: rows of components, and a folder of presets.

A plugin is a module named in the entry-point group ``vlframe``; it imports nothing heavy::

    import vlframe

    @vlframe.hookimpl
    def vlframe_components():
        yield vlframe.Component("connector", "my_thing", "vlframe_mything.connector:MyThing", MyThingParams)
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pluggy

KINDS = (
    "encoder",
    "connector",
    "audio_encoder",
    "audio_connector",
    "llm",
    "reader",
    "dataset",
    "benchmark",
    "protocol",
    "layout",
)

hookspec = pluggy.HookspecMarker("vlframe")
hookimpl = pluggy.HookimplMarker("vlframe")


@dataclass(frozen=True)
class Component:
    """One row a plugin offers.

    ``kind`` is one of ``KINDS``. ``name`` is what a user types. ``path`` is ``"module:Class"``, imported only when the
    component is built. ``params`` is a dataclass, or an instance of one: its fields are the keyword arguments of the
    class, its defaults the only home of the defaults. ``summary`` is the line that ``vlframe list`` shows.
    """

    kind: str
    name: str
    path: str
    params: Any = None
    summary: str = ""


@hookspec
def vlframe_components() -> Iterable[Component]:
    """The components this plugin offers."""


@hookspec
def vlframe_conf() -> Path:
    """A folder laid out like vlframe's ``conf/``: presets, compositions and experiments."""
