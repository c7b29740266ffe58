"""Opens the data sets that a run's config names, wherever they are now."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from vlframe.config.moved import advising_if_moved, moved_path
from vlframe.contracts.reader import FrameList
from vlframe.contracts.sample import Sample
from vlframe.errors import UserError
from vlframe.registry.registry import Registry

# A key of a data set in a message, and not a file of that name.
KEY = re.compile(r"(?<![\w./-])dataset\.(?=[a-z_.]+(=| is |$))")


def open_samples(
    registry: Registry, settings: Mapping[str, Any], moved: Mapping[str, str], place: str = "dataset"
) -> Any:
    """Build a data set; media in its rows that lay in a folder of ``moved`` are found where that is now.

    An error names the keys of the data set by ``place``, where the config has it. One about a file whose folder is not
    there says what to do.
    """
    cls = registry.row("dataset", str(settings["name"])).load_class()
    with advising_if_moved(settings), _placed(place):
        samples = registry.build("dataset", settings, **passed(cls, moved))
    return Moved(samples, moved) if moved else samples


def check_data(registry: Registry, settings: Mapping[str, Any], place: str = "dataset") -> None:
    """Let a data set check its parameters (``check_parameters``, if it has that) without opening it."""
    check = getattr(registry.row("dataset", str(settings["name"])).load_class(), "check_parameters", None)
    if check is not None:
        with advising_if_moved(settings), _placed(place):
            check(registry.check("dataset", settings))


@contextmanager
def _placed(place: str) -> Iterator[None]:
    """Name the keys of a data set by their place in the config, in errors inside."""
    try:
        yield
    except UserError as error:
        error.args = (KEY.sub(f"{place}.", str(error)),)
        raise


def passed(build: Callable[..., Any], moved: Mapping[str, str]) -> dict[str, Any]:
    """Return ``moved`` for a data set that takes it, because it looks at the paths of its rows itself."""
    return {"moved": moved} if "moved" in inspect.signature(build).parameters else {}


class Moved:
    """A data set whose media have moved."""

    def __init__(self, samples: Any, moved: Mapping[str, str]) -> None:
        self._samples = samples
        self._moved = moved

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> Sample:
        return moved_sample(self._samples[index], self._moved)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_samples"], name) if "_samples" in self.__dict__ else _absent(name)


def moved_sample(sample: Sample, moved: Mapping[str, str]) -> Sample:
    """Return a sample with the paths of its media where they are now."""

    def here(path: Any) -> Any:
        if isinstance(path, FrameList):
            return FrameList(here(one) for one in path)
        return Path(moved_path(str(path), moved))

    return replace(sample, media=tuple(replace(item, path=here(item.path)) for item in sample.media))


def _absent(name: str) -> Any:
    raise AttributeError(name)  # while it is unpickled in a data worker
