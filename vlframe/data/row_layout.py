"""Data sets in their published layouts, one sample for each row of a file, and mixtures of them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vlframe.contracts.sample import Entry, Problem, Sample, Subset
from vlframe.data.row_files import existing_rows, media_folder
from vlframe.errors import ConfigError, DataError
from vlframe.registry.defaults import default_parameters


class RowLayout:
    """One sample for each row; a subclass defines how rows are read and converted."""

    def __init__(self, **parameters: Any) -> None:
        self.file = existing_rows(parameters["path"], type(self).__name__)
        self.parameters = parameters
        self.root = media_folder(parameters["media_root"], self.default_root())
        self.rows: Sequence[tuple[str, Any]] = self.read()

    @classmethod
    def check_parameters(cls, parameters: Mapping[str, Any]) -> None:
        """Raise ConfigError for a file of rows, or a folder of media, that is not there."""
        file = existing_rows(parameters["path"], cls.__name__)
        media_folder(parameters["media_root"], file.parent)

    @classmethod
    def entries(cls, **parameters: Any) -> Iterator[Entry]:
        """Yield every row, including bad ones."""
        data = cls(**parameters)
        for index, (where, _) in enumerate(data.rows):
            try:
                yield Entry(where, data[index])
            except DataError as error:
                yield Entry(where, problems=(Problem("row", str(error).removeprefix(f"{where}: ")),))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Sample:
        index = range(len(self))[index]
        where, row = self.rows[index]
        return self.sample(row, f"{self.file.stem}/{index + 1}", where)

    def default_root(self) -> Path:
        """Return the default folder of the media."""
        return self.file if self.file.is_dir() else self.file.parent

    def read(self) -> Sequence[tuple[str, Any]]:
        """Return the rows, each with a description of its place."""
        raise NotImplementedError

    def sample(self, row: Any, name: str, where: str) -> Sample:
        """Return a row as a sample. DataError begins with ``where``."""
        raise NotImplementedError


class LayoutMixture:
    """The rows of its parts, one after the other; ``subsets`` gives the start and weight of each.

    A subclass lists the layouts that a part may have, by component name. ``weight`` is the default weight.
    """

    layouts: Mapping[str, type[RowLayout]]
    weight: float | None = 1.0  # None: the number of rows, so that an epoch has each row once

    def __init__(self, *, parts: Sequence[Mapping[str, Any]]) -> None:
        told = self._told(parts)
        self.parts = [self.layouts[name](**parameters) for name, _, parameters in told]
        self.subsets: list[Subset] = []
        for part, (_, weight, parameters) in zip(self.parts, told, strict=True):
            drawn, name = len(part) if weight is None else weight, str(parameters["path"])
            self.subsets.append(Subset(len(self), len(self) + len(part), drawn, name))

    @classmethod
    def check_parameters(cls, parameters: Mapping[str, Any]) -> None:
        """Raise ConfigError for what is wrong with a part."""
        for name, _, part in cls._told(parameters["parts"]):
            cls.layouts[name].check_parameters(part)

    @classmethod
    def entries(cls, *, parts: Sequence[Mapping[str, Any]]) -> Iterator[Entry]:
        """Yield every row of every part, including bad ones."""
        told = cls._told(parts)
        for name, _, parameters in told:
            for entry in cls.layouts[name].entries(**parameters):
                yield replace(entry, part=str(parameters["path"]))

    def __len__(self) -> int:
        return self.subsets[-1].stop if self.subsets else 0

    def __getitem__(self, index: int) -> Sample:
        index = range(len(self))[index]
        which = bisect_right([part.start for part in self.subsets], index) - 1
        return self.parts[which][index - self.subsets[which].start]

    @classmethod
    def _told(cls, parts: Sequence[Mapping[str, Any]]) -> list[tuple[str, float | None, dict[str, Any]]]:
        """Return layout, weight and parameters of each part. ConfigError names what is wrong with one."""
        if not parts:
            first = next(iter(cls.layouts))
            raise ConfigError(f"the mixture has no parts; give parts=[{{layout: {first}, path: <file>}}, …]")
        found = []
        for number, part in enumerate(parts):
            values = dict(part)
            name, given = str(values.pop("layout", "")), values.pop("weight", cls.weight)
            if name not in cls.layouts:
                raise ConfigError(f"dataset.parts.{number}.layout is {name!r}; it can be {', '.join(cls.layouts)}")
            known, weight = default_parameters("dataset", name), None if given is None else float(given)
            unknown = [key for key in values if key not in known]
            if unknown or not (weight is None or weight > 0):
                raise ConfigError(
                    f"dataset.parts.{number} has {unknown[0] if unknown else f'the weight {weight:g}'!r}; a part has "
                    f"layout, {', '.join(known)}, and a weight above 0"
                )
            found.append((name, weight, known | values))
        return found
