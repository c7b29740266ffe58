"""One manifest, or several as a weighted mixture."""

import math
import os
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vlframe import ConfigError, Part, Sample
from vlframe_conversations.manifest import Manifest
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
        if bool(path) == bool(mixture):
            raise ConfigError(
                f"the data set has {'both' if path else 'neither'} 'path' {'and' if path else 'nor'} 'mixture'; give "
                "path=file.json for one manifest, or mixture=[{path: a.json, weight: 2}, {path: b.jsonl}] for several"
            )
        self.parts: list[Part] = []
        self._manifests: list[Manifest] = []
        self._readers: list[RowReader] = []
        for source in mixture or [{"path": path, "weight": 1.0}]:
            manifest = Manifest(Path(source["path"]).expanduser())
            root = Path(source.get("media_root") or media_root or manifest.path.parent).expanduser()
            start = len(self)
            self.parts.append(Part(start, start + len(manifest), _weight(source)))
            self._manifests.append(manifest)
            own = source.get("sound")
            heard = sound if own is None else own
            self._readers.append(RowReader(Path(os.path.abspath(root)), heard, tuple(ignore_fields)))

    def __len__(self) -> int:
        return self.parts[-1].stop if self.parts else 0

    def __getitem__(self, index: int) -> Sample:
        index = range(len(self))[index]
        which = bisect_right([part.start for part in self.parts], index) - 1
        manifest, number = self._manifests[which], index - self.parts[which].start
        unnamed = f"{manifest.path.stem}/{number + 1}"
        return self._readers[which].sample(manifest.row(number), manifest.where(number), unnamed)


def _weight(source: Mapping[str, Any]) -> float:
    weight = float(source["weight"])
    if not 0 < weight < math.inf:
        raise ConfigError(f"the weight of {source['path']} is {weight:g}; a weight is a number above 0")
    return weight
