"""The first look: every row is read; files are only named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from vlframe.data.check.findings import Finding
from vlframe.data.check.sources import Source
from vlframe.data.prepare import withhold
from vlframe.data.sample import Entry, Media, Sample

COUNTED = ("rows", "samples", "text_only", "video", "image", "audio", "tracks")


class Ask(NamedTuple):
    """What is taken from a file. ``training`` makes a difference to a protocol only."""

    media: Media
    training: bool


class Survey:
    """Counts, the problems of rows, ids that come twice, and which files are asked for what, by which rows."""

    def __init__(self, withheld: Sequence[str], trains_apart: bool) -> None:
        self.withheld = withheld
        self.trains_apart = trains_apart  # a protocol may read a file in another way for training
        self.counts: dict[str, Counter[str]] = {}
        self.findings: list[Finding] = []
        self.wanted: dict[Path, dict[Ask, list[str]]] = {}

    def source(self, source: Source, seen: Callable[[], object]) -> None:
        """Read all rows of a data set; ``seen`` is called after each."""
        places: dict[str, list[str]] = {}
        self.counts[source.name] = Counter(dict.fromkeys(COUNTED, 0))
        for entry in source.entries():
            self._entry(source, entry)
            if entry.sample is not None:
                places.setdefault(entry.sample.id, []).append(entry.where)
            seen()
        for name, rows in places.items():
            if len(rows) > 1:
                text = f"the id {name!r} names {len(rows)} rows; reports of a run could not tell them apart"
                self.findings.append(Finding("error", "duplicate_id", text, tuple(rows)))

    def ask(self, source: Source, media: Media) -> Ask:
        return Ask(media, source.answers or not self.trains_apart)

    def shown(self, sample: Sample) -> Sample:
        """The sample without the media that the model is not shown."""
        return withhold(sample, self.withheld)

    def _entry(self, source: Source, entry: Entry) -> None:
        count = self.counts[source.name]
        count["rows"] += 1
        for problem in entry.problems:
            self.findings.append(Finding("error", problem.kind, problem.text, (entry.where,)))
        if entry.sample is None:
            return
        sample = self.shown(entry.sample)
        count["samples"] += 1
        count["text_only"] += not sample.media
        for media in sample.media:
            count["tracks" if media.track else media.kind] += 1
            places = self.wanted.setdefault(Path(media.path), {}).setdefault(self.ask(source, media), [])
            if entry.where not in places[-1:]:
                places.append(entry.where)
