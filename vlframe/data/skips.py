"""Keeping count of the samples that were left out, in memory and in quarantine.jsonl; and when they are too many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from vlframe.data.batch import Skipped
from vlframe.errors import ConfigError, DataError
from vlframe.media.content import content_sha256
from vlframe.runs.folder import append_jsonl

if TYPE_CHECKING:
    from vlframe.data.batch import Batch

ALWAYS_ALLOWED = 10  # bad samples that stop no run: fewer say too little about a share
SHOWN = 3


class SkipLog:
    """Each skipped sample once, however many epochs met it."""

    def __init__(self, file: Path | None = None) -> None:
        self.file = file
        self.seen: dict[tuple[str, str], Skipped] = {}
        self._hashes: dict[str, str | None] = {}

    def add(self, skipped: Iterable[Skipped]) -> None:
        new = {(item.id, item.why): item for item in skipped if (item.id, item.why) not in self.seen}
        self.seen |= new
        if new and self.file is not None:
            append_jsonl(self.file, [self._row(item) for item in new.values()])

    def _row(self, item: Skipped) -> dict[str, str | None]:
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

    def reasons(self, why: str) -> list[str]:
        """Of the first samples that were left out for this."""
        return [item.reason for item in self.seen.values() if item.why == why][:SHOWN]

    def __str__(self) -> str:
        if not self.seen:
            return "no sample was left out"
        reasons = ", ".join(f"{count} for {why}" for why, count in sorted(self.counts.items()))
        return f"{len(self.seen)} sample(s) left out: {reasons}" + (f" (listed in {self.file})" if self.file else "")


class BadShare:
    """Stops a run in which more than ``limit`` of the samples are left out because of their media.

    A stage draws its samples at random, so those it has met so far stand for all; ``total`` is for an order that is not
    random, and gives the share of all of them. The first ten bad samples stop nothing: were half as many bad as is
    allowed, a run would meet more than ten before its share is below the limit in one case of fifty.
    """

    def __init__(self, limit: float | None, total: int | None = None) -> None:
        if limit is not None and not 0 < limit <= 1:
            raise ConfigError(
                f"media.max_bad_share is {limit}; it must be more than 0 and at most 1, or null for no limit"
            )
        self.limit = limit
        self.total = total
        self.met = 0
        self.bad = 0

    def add(self, met: int, bad: int) -> bool:
        """Count them; whether that makes too many."""
        self.met += met
        self.bad += bad
        return self.too_many

    @property
    def too_many(self) -> bool:
        return self.limit is not None and self.bad > max(ALWAYS_ALLOWED, self.limit * self.of)

    @property
    def of(self) -> int:
        """How many samples the bad ones are a share of."""
        return self.total or self.met

    def check(self, skips: SkipLog) -> None:
        """Raises ``DataError`` above the limit."""
        if self.too_many:
            raise DataError(_too_many(self, skips))

    def count(self, met: int, bad: int, skips: SkipLog) -> None:
        """Raises ``DataError`` if that makes too many."""
        self.add(met, bad)
        self.check(skips)


def met_and_bad(batch: Batch) -> tuple[int, int]:
    """How many samples were to be in a batch, and how many of them are left out because of their media."""
    return len(batch) + len(batch.skipped), sum(item.why == "media" for item in batch.skipped)


def _too_many(share: BadShare, skips: SkipLog) -> str:
    where = f"; all are listed in {skips.file}" if skips.file else ""
    met = f"{share.bad} of {share.of} samples" + (f" ({share.met} met so far)" if share.total else " met so far")
    return (
        f"{met} had to be left out because of their media, more than media.max_bad_share={share.limit:g} allows. "
        f"The first: {'; '.join(skips.reasons('media'))}{where}. Look at these files, or at dataset.media_root; a "
        "larger share, or null, lets the run go on"
    )


def sha256(path: str) -> str | None:
    """Of a file's content; None for what is no file or cannot be read."""
    try:
        return content_sha256(Path(path))
    except OSError:
        return None
