"""One manifest, or several as a weighted mixture."""

import math
import os
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from vlframe import ConfigError, Entry, Sample, Subset, at_home
from vlframe_conversations.entries import manifest_entries
from vlframe_conversations.manifest import Manifest
from vlframe_conversations.rows import RowReader
from vlframe_conversations.whole_file import check_file

STRAY_TAGS = ("error", "word")


class Conversations:
    """The rows of its manifests, one after the other; ``subsets`` gives the start and weight of each.

    Media whose full paths lie in a folder of ``moved`` are where that is now.

    A row without an id is called ``<file stem>/<row number>``, counted from 1.
    """

    def __init__(
        self,
        *,
        path: str | None,
        media_root: str | None,
        mixture: Sequence[Mapping[str, Any]],
        sound: bool,
        stray_tags: str,
        ignore_fields: Sequence[str],
        moved: Mapping[str, str] | None = None,
    ) -> None:
        self.subsets: list[Subset] = []
        self._manifests: list[Manifest] = []
        self._readers: list[RowReader] = []
        for source in _sources(path, mixture):
            manifest = Manifest(_path(source))
            start = len(self)
            self.subsets.append(Subset(start, start + len(manifest), _weight(source), str(source["path"])))
            self._manifests.append(manifest)
            reader = _reader(source, media_root, sound, stray_tags, ignore_fields)
            self._readers.append(replace(reader, moved=moved or {}))

    @staticmethod
    def check_parameters(parameters: Mapping[str, Any]) -> None:
        """Raise ConfigError for values that make no sense, DataError for a manifest that is missing or no JSON."""
        for source in _sources(parameters["path"], parameters["mixture"]):
            _weight(source)
            check_file(_path(source))
            _reader(source, *(parameters[name] for name in ("media_root", "sound", "stray_tags", "ignore_fields")))

    @classmethod
    def entries(
        cls,
        *,
        path: str | None,
        media_root: str | None,
        mixture: Sequence[Mapping[str, Any]],
        sound: bool,
        stray_tags: str,
        ignore_fields: Sequence[str],
        moved: Mapping[str, str] | None = None,
    ) -> Iterator[Entry]:
        """Yield every row of every manifest, including bad ones. ``DataError`` for a missing manifest."""
        sources = _sources(path, mixture)
        for source in sources:
            _weight(source)
            check_file(_path(source))
        return chain.from_iterable(
            _entries(source, replace(_reader(source, media_root, sound, stray_tags, ignore_fields), moved=moved or {}))
            for source in sources
        )

    def __len__(self) -> int:
        return self.subsets[-1].stop if self.subsets else 0

    def __getitem__(self, index: int) -> Sample:
        index = range(len(self))[index]
        which = bisect_right([part.start for part in self.subsets], index) - 1
        manifest, number = self._manifests[which], index - self.subsets[which].start
        return self._readers[which].sample(manifest.row(number), manifest.where(number), manifest.unnamed(number))


def _sources(path: str | None, mixture: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """Return one source for each manifest."""
    if bool(path) == bool(mixture):
        raise ConfigError(
            f"the data set has {'both' if path else 'neither'} 'path' {'and' if path else 'nor'} 'mixture'; give "
            "dataset.path=file.json for one manifest, or for several "
            "'dataset.mixture=[{path: a.json, weight: 2}, {path: b.jsonl, weight: 1}]'"
        )
    return mixture or [{"path": path, "weight": 1.0}]


def _entries(source: Mapping[str, Any], reader: RowReader) -> Iterator[Entry]:
    for entry in manifest_entries(_path(source), reader):
        yield replace(entry, part=str(source["path"]))


def _path(source: Mapping[str, Any]) -> Path:
    return Path(at_home(source["path"]))


def _reader(
    source: Mapping[str, Any], media_root: str | None, sound: bool, stray_tags: str, ignore_fields: Sequence[str]
) -> RowReader:
    if stray_tags not in STRAY_TAGS:
        raise ConfigError(f"dataset.stray_tags is {stray_tags!r}; it can be {' or '.join(STRAY_TAGS)}")
    said = source.get("media_root") or media_root
    root = Path(at_home(said)) if said else _path(source).parent
    own = source.get("sound")
    return RowReader(Path(os.path.abspath(root)), sound if own is None else own, tuple(ignore_fields), stray_tags)


def _weight(source: Mapping[str, Any]) -> float:
    weight = float(source["weight"])
    if not 0 < weight < math.inf:
        raise ConfigError(f"the weight of {source['path']} is {weight:g}; a weight is a number above 0")
    return weight
