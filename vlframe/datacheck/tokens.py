"""Findings about the samples' tokens, and a summary of their lengths."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

from vlframe.data.prepare import no_encoder
from vlframe.datacheck.findings import Finding, Level
from vlframe.datacheck.lengths import Counted, Length

if TYPE_CHECKING:
    from vlframe.contracts.token_budget import TokenBudget


class Tokens:
    """Collects results in any order; the summary does not depend on it."""

    def __init__(self, budget: TokenBudget | None) -> None:
        self.budget = budget
        self._findings: list[tuple[int, Finding]] = []
        self._totals: list[int] = []
        self._longest: tuple[int, int, str] = (0, 0, "")
        self._samples = self._media = self._supervised = 0

    def add(self, item: Counted, length: Length) -> None:
        self._samples += 1
        if length.problem:
            level: Level = "note" if length.allowed else "error"
            self._findings.append((item.number, Finding(level, length.problem, length.text, (item.place,))))
        self._supervised += length.supervised or 0
        if length.total is not None:
            self._totals.append(length.total)
            self._media += length.media or 0
            self._longest = max(self._longest, (length.total, -item.number, item.place))

    def unseen(self, number: int, place: str, name: str, kind: str) -> None:
        """Record a sample with media of this kind; an error if the composition was chosen and has no encoder for it."""
        if self.budget is not None:
            self._findings.append((number, Finding("error", "no_encoder", no_encoder(name, kind), (place,))))

    def findings(self) -> list[Finding]:
        """Return the findings in the order of the samples."""
        return [finding for _, finding in sorted(self._findings, key=lambda item: item[0])]

    def summary(self) -> dict[str, Any] | None:
        """Summarise lengths before anything is cut; None without a context to compare them with."""
        if self.budget is None:
            return None
        return {
            "context": self.budget.max_length,
            "samples": self._samples,
            "counted": len(self._totals),
            "shortest": min(self._totals, default=None),
            "median": median(self._totals) if self._totals else None,
            "longest": self._longest[0] or None,
            "longest_at": self._longest[2],
            "over_context": sum(total > self.budget.max_length for total in self._totals),
            "media_tokens": self._media,
            "supervised_tokens": self._supervised,
        }
