"""Keeping count of the samples that were left out, in memory and in quarantine.jsonl."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from vlframe.data.batch import Skipped
from vlframe.runs.folder import append_jsonl


class SkipLog:
    """Each skipped sample once, however many epochs met it."""

    def __init__(self, file: Path | None = None) -> None:
        self.file = file
        self.seen: dict[tuple[str, str], Skipped] = {}

    def add(self, skipped: Iterable[Skipped]) -> None:
        new = [item for item in skipped if (item.id, item.why) not in self.seen]
        self.seen |= {(item.id, item.why): item for item in new}
        if new and self.file is not None:
            append_jsonl(self.file, [{"id": item.id, "why": item.why, "reason": item.reason} for item in new])

    @property
    def counts(self) -> dict[str, int]:
        return dict(Counter(why for _, why in self.seen))

    def __str__(self) -> str:
        if not self.seen:
            return "no sample was left out"
        reasons = ", ".join(f"{count} for {why}" for why, count in sorted(self.counts.items()))
        return f"{len(self.seen)} sample(s) left out: {reasons}" + (f" (listed in {self.file})" if self.file else "")
