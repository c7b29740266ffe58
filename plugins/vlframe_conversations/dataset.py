"""One manifest, or several as a weighted mixture."""

import math
import os
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from vlframe import ConfigError, Entry, Part, Sample
from vlframe_conversations.entries import manifest_entries
from vlframe_conversations.manifest import Manifest, check_file
from vlframe_conversations.rows import RowReader


class Conversations:
    """The rows of its manifests, one after the other; ``parts`` says where each begins and its weight.

    A row without an id is called ``<file stem>/<row number>``, counted from 1.
    """

    def __init__(
        self,
        *,
        path: str | None,
        media_root: str | None,
        mixture: Sequence[Mapping[str, Any]],
        sound: bool,
        ignore_fields: Sequence[str],
    ) -> None:
        self.parts: list[Part] = []
        self._manifests: list[Manifest] = []
        self._readers: list[RowReader] = []
        for source in _sources(path, mixture):
            manifest = Manifest(_path(source))
            start = len(self)
            self.parts.append(Part(start, start + len(manifest), _weight(source)))
            self._manifests.append(manifest)
            self._readers.append(_reader(source, media_root, sound, ignore_fields))

    @classmethod
    def entries(
        cls,
        *,
        path: str | None,
        media_root: str | None,
        mixture: Sequence[Mapping[str, Any]],
        sound: bool,
        ignore_fields: Sequence[str],
    ) -> Iterator[Entry]:
        """Every row of every manifest, the wrong ones too. ``DataError`` for a manifest that is not there."""
        sources = _sources(path, mixture)
        for source in sources:
            _weight(source)
            check_file(_path(source))
        return chain.from_iterable(
            manifest_entries(_path(source), _reader(source, media_root, sound, ignore_fields)) for source in sources
        )

    def __len__(self) -> int:
        return self.parts[-1].stop if self.parts else 0

    def __getitem__(self, index: int) -> Sample:
        index = range(len(self))[index]
        which = bisect_right([part.start for part in self.parts], index) - 1
        manifest, number = self._manifests[which], index - self.parts[which].start
        return self._readers[which].sample(manifest.row(number), manifest.where(number), manifest.unnamed(number))


def _sources(path: str | None, mixture: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """One for each manifest."""
    if bool(path) == bool(mixture):
        raise ConfigError(
            f"the data set has {'both' if path else 'neither'} 'path' {'and' if path else 'nor'} 'mixture'; give "
            "path=file.json for one manifest, or mixture=[{path: a.json, weight: 2}, {path: b.jsonl}] for several"
        )
    return mixture or [{"path": path, "weight": 1.0}]


def _path(source: Mapping[str, Any]) -> Path:
    return Path(source["path"]).expanduser()


def _reader(source: Mapping[str, Any], media_root: str | None, sound: bool, ignore_fields: Sequence[str]) -> RowReader:
    root = Path(source.get("media_root") or media_root or _path(source).parent).expanduser()
    own = source.get("sound")
    return RowReader(Path(os.path.abspath(root)), sound if own is None else own, tuple(ignore_fields))


def _weight(source: Mapping[str, Any]) -> float:
    weight = float(source["weight"])
    if not 0 < weight < math.inf:
        raise ConfigError(f"the weight of {source['path']} is {weight:g}; a weight is a number above 0")
    return weight
