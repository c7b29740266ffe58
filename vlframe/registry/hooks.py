"""The hooks by which a plugin declares its components, a folder of presets, and commands.

A plugin is a module named in the entry-point group ``vlframe``; it imports nothing heavy::

    import vlframe

    vlframe_api = 1

    @vlframe.hookimpl
    def vlframe_components():
        yield vlframe.Component("connector", "my_thing", "vlframe_mything.connector:MyThing", MyThingParams)
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pluggy

from vlframe.contracts.modalities import Modality

API = 1  # the version of the plugin API; docs/plugins.md says when it changes

hookspec = pluggy.HookspecMarker("vlframe")
hookimpl = pluggy.HookimplMarker("vlframe")


@dataclass(frozen=True)
class Component:
    """A component that a plugin offers.

    ``kind`` is one of ``vlframe.contracts.kinds``. ``name`` is its name in configs. ``path`` is ``"module:Class"``,
    imported only when the component is built. ``params`` is a dataclass, or an instance of one: its fields are the
    keyword arguments of the class, its defaults the only home of the defaults. A parameter of type ``Any`` with the
    name of a kind holds another component. ``summary`` is the line that ``vlframe list`` shows. ``example`` are
    parameters that make a part of the model small enough for any laptop, with random weights; ``debug=tiny`` and tests
    build it with them.
    """

    kind: str
    name: str
    path: str
    params: Any = None
    summary: str = ""
    example: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Command:
    """A command that a plugin adds: ``vlframe <name> …``.

    ``path`` is ``"module:function"``. The function takes the arguments after the command's name, without those that
    name plugins, and returns an exit code, or any other value for success. ``summary`` is its line in ``vlframe
    --help``.
    """

    name: str
    path: str
    summary: str = ""


@hookspec
def vlframe_components() -> Iterable[Component]:
    """Return the components this plugin offers."""
    raise NotImplementedError


@hookspec
def vlframe_modalities() -> Iterable[Modality]:
    """Return the plugin's own modalities: each a branch of a model, with kinds of media and kinds of component."""
    raise NotImplementedError


@hookspec
def vlframe_conf() -> Path:
    """Return a folder laid out like vlframe's ``conf/``: presets, compositions and experiments."""
    raise NotImplementedError


@hookspec
def vlframe_commands() -> Iterable[Command]:
    """Return the commands that this plugin adds to the command line."""
    raise NotImplementedError
