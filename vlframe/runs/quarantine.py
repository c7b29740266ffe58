"""Counts the quarantined samples, in memory and in quarantine.jsonl, and stops a run if they are too many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from vlframe.contracts.batch import Quarantined
from vlframe.errors import DataError
from vlframe.media.hashing import content_sha256
from vlframe.runs.folder import append_jsonl
from vlframe.runs.unlogged import Unlogged

if TYPE_CHECKING:
    from vlframe.contracts.batch import Batch

ALWAYS_ALLOWED = 10  # quarantined samples that never stop a run: too few to estimate a share
SHOWN = 3
# By reason.
ADVICE = {
    "media": "look at these files, or at dataset.media_root",
    "missing_audio": "take media.missing_audio=silence, or data with sound",
    "too_long": "take fewer media.frames, a longer text.max_length, or text.too_long=trim_text",
}


class QuarantineLog:
    """Records each quarantined sample once, however many epochs encounter it."""

    def __init__(self, file: Path | None = None, unlogged: Unlogged | None = None) -> None:
        self.file = file
        self.unlogged = unlogged or Unlogged()  # reports a file that cannot be written
        self.seen: dict[tuple[str, str], Quarantined] = {}
        self._hashes: dict[str, str | None] = {}

    def add(self, quarantined: Iterable[Quarantined]) -> None:
        new = {(item.id, item.why): item for item in quarantined if (item.id, item.why) not in self.seen}
        self.seen |= new
        if new and self.file is not None:
            with self.unlogged.kept(self.file.name):
                append_jsonl(self.file, [self._row(item) for item in new.values()])

    def _row(self, item: Quarantined) -> dict[str, str | None]:
        if item.path is not None and item.path not in self._hashes:
            self._hashes[item.path] = sha256(item.path)
        return {
            "id": item.id,
            "why": item.why,
            "reason": item.reason,
            "path": item.path,
            "sha256": None if item.path is None else self._hashes[item.path],
            "reader": item.reader,
        }

    @property
    def counts(self) -> dict[str, int]:
        return dict(Counter(why for _, why in self.seen))

    def summary(self) -> str:
        """Describe the first reasons, where all are listed, and what to do about them."""
        first = "; ".join(list(dict.fromkeys(item.reason for item in self.seen.values()))[:SHOWN])
        where = f"; all are listed in {self.file}" if self.file else ""
        advice = "; ".join(ADVICE[why] for why in self.counts if why in ADVICE)
        return f"The first: {first}{where}. To do: {advice}"

    def __str__(self) -> str:
        if not self.seen:
            return "no sample was quarantined"
        reasons = ", ".join(f"{count} for {why}" for why, count in sorted(self.counts.items()))
        return f"{len(self.seen)} sample(s) quarantined: {reasons}" + (f" (listed in {self.file})" if self.file else "")


class QuarantineLimit:
    """Stops a run if more than ``limit`` of the samples are quarantined, for any reason.

    A stage draws its samples at random, so those seen so far are representative; ``total`` is for an order that is not
    random, and makes it the share of all samples. The first ten quarantined samples never stop a run, however often it
    meets them: with half the allowed share of them, a run has a chance of one in fifty to see more than ten before its
    share falls below the limit.
    """

    def __init__(self, limit: float | None, total: int | None = None) -> None:
        self.limit = limit
        self.total = total
        self.met = 0
        self.bad = 0
        self.distinct = 0  # of the bad ones
        self.ids: set[str] = set()  # of bad samples that this rank met, no more than are needed to tell

    def new(self, quarantined: Iterable[Quarantined]) -> int:
        """Return how many of these this rank had not met before, for ``distinct``; 0 once there are enough."""
        before = len(self.ids)
        self.ids |= {item.id for item in quarantined} if before <= ALWAYS_ALLOWED else set()
        return len(self.ids) - before

    def add(self, met: int, bad: int, distinct: int | None = None) -> bool:
        """Count samples; return whether too many are quarantined. ``distinct`` of the bad ones are met for the first
        time (None: all).
        """
        self.met += met
        self.bad += bad
        self.distinct += bad if distinct is None else distinct
        return self.too_many

    @property
    def too_many(self) -> bool:
        enough = self.distinct > ALWAYS_ALLOWED
        return self.limit is not None and enough and self.bad > self.limit * self.of

    @property
    def of(self) -> int:
        """Return the number of samples that the share refers to."""
        return self.total or self.met

    def check(self, quarantine: QuarantineLog) -> None:
        """Raise ``DataError`` above the limit."""
        if self.too_many:
            raise DataError(_too_many(self, quarantine))

    def count(self, met: int, bad: int, quarantine: QuarantineLog, distinct: int | None = None) -> None:
        """Count samples; raise ``DataError`` if too many are quarantined."""
        self.add(met, bad, distinct)
        self.check(quarantine)


def met_and_bad(batch: Batch) -> tuple[int, int]:
    """Return how many samples belong in a batch, and how many of them were quarantined."""
    return len(batch) + len(batch.quarantined), len(batch.quarantined)


def _too_many(share: QuarantineLimit, quarantine: QuarantineLog) -> str:
    met = f"{share.bad} of {share.of} samples" + (f" ({share.met} met so far)" if share.total else " met so far")
    reasons = ", ".join(sorted(quarantine.counts))
    return (
        f"{met} had to be quarantined ({reasons}), more than media.max_bad_share={share.limit:g} allows. "
        f"{quarantine.summary()}; a larger media.max_bad_share, or null, lets the run go on"
    )


def sha256(path: str) -> str | None:
    """Return the hash of a file's content; None if it is not a file or cannot be read."""
    try:
        return content_sha256(Path(path))
    except OSError:
        return None
