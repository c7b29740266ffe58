"""Opens the data sets that a run's config names, wherever they are now."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from vlframe.config.moved import advising_if_moved, moved_path
from vlframe.contracts.reader import FrameList
from vlframe.contracts.sample import Sample
from vlframe.errors import UserError
from vlframe.registry.registry import Registry


def open_samples(
    registry: Registry, settings: Mapping[str, Any], moved: Mapping[str, str], place: str = "dataset"
) -> Any:
    """Build a data set; media in its rows that lay in a folder of ``moved`` are found where that is now.

    An error names the keys of the data set by ``place``, where the config has it. One about a file whose folder is not
    there says what to do.
    """
    cls = registry.row("dataset", str(settings["name"])).load_class()
    with advising_if_moved(settings):
        try:
            samples = registry.build("dataset", settings, **passed(cls, moved))
        except UserError as error:
            error.args = (re.sub(r"^dataset\.", f"{place}.", str(error)),)
            raise
    return Moved(samples, moved) if moved else samples


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
