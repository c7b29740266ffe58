"""The first pass: reads every row, and only collects the names of files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from vlframe.contracts.modalities import TAGS
from vlframe.contracts.reader import ClipPath, clip_path
from vlframe.contracts.sample import Entry, Media, Sample
from vlframe.data.prepare import withhold
from vlframe.datacheck.findings import Finding
from vlframe.datacheck.sources import Source


def counted() -> tuple[str, ...]:
    """Return what is counted of each data set: rows, and media by kind."""
    return ("rows", "samples", "text_only", *TAGS, "tracks")


class Ask(NamedTuple):
    """A request for a file's content. ``training`` matters only to a processor."""

    media: Media
    training: bool


class Survey:
    """Counts rows, their problems and duplicate ids, and collects which rows request what from which files."""

    def __init__(self, withheld: Sequence[str], readable: Collection[str], trains_apart: bool) -> None:
        self.withheld = withheld
        self.readable = readable  # kinds of media; files of others are counted and not read
        self.trains_apart = trains_apart  # a processor may read a file differently for training
        self.counts: dict[str, Counter[str]] = {}
        self.findings: list[Finding] = []
        self.wanted: dict[ClipPath, dict[Ask, list[str]]] = {}

    def source(self, source: Source, seen: Callable[[], object]) -> None:
        """Read all rows of a data set; ``seen`` is called after each."""
        places: dict[str, list[str]] = {}
        self.counts[source.name] = Counter(dict.fromkeys(counted(), 0))
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
        """Return the sample without the media that are withheld from the model."""
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
        if source.answers and any(turn.role == "assistant" and not turn.text.strip() for turn in sample.turns):
            text = f"sample {sample.id!r} has an empty answer: only its end is taught"
            self.findings.append(Finding("note", "empty_answer", text, (entry.where,)))
        for media in sample.media:
            count["tracks" if media.track else media.kind] += 1
            if media.kind not in self.readable:
                continue
            places = self.wanted.setdefault(clip_path(media.path), {}).setdefault(self.ask(source, media), [])
            if entry.where not in places[-1:]:
                places.append(entry.where)
