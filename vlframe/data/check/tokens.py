"""What came of the samples' tokens: findings, and how long they are."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

from vlframe.data.check.findings import Finding
from vlframe.data.check.lengths import Counted, Length

if TYPE_CHECKING:
    from vlframe.model.compose import Plan


class Tokens:
    """Results come in any order; what is made of them does not depend on it."""

    def __init__(self, plan: Plan | None) -> None:
        self.plan = plan
        self._findings: list[tuple[int, Finding]] = []
        self._totals: list[int] = []
        self._longest: tuple[int, int, str] = (0, 0, "")
        self._samples = self._media = self._supervised = 0

    def add(self, item: Counted, length: Length) -> None:
        self._samples += 1
        if length.problem:
            level = "note" if length.left_out else "error"
            self._findings.append((item.number, Finding(level, length.problem, length.text, (item.place,))))
        self._supervised += length.supervised or 0
        if length.total is not None:
            self._totals.append(length.total)
            self._media += length.media or 0
            self._longest = max(self._longest, (length.total, -item.number, item.place))

    def unheard(self, number: int, place: str, name: str) -> None:
        """A sample with sound; an error where somebody chose a composition that does not hear."""
        if self.plan is not None:
            text = f"sample {name!r} has sound; choose an audio_encoder, or leave it out (media.withhold=[audio])"
            self._findings.append((number, Finding("error", "no_audio_encoder", text, (place,))))

    def findings(self) -> list[Finding]:
        """In the order of the samples."""
        return [finding for _, finding in sorted(self._findings, key=lambda item: item[0])]

    def summary(self) -> dict[str, Any] | None:
        """Lengths before anything is cut; None where there is no context to compare them with."""
        if self.plan is None:
            return None
        return {
            "context": self.plan.context,
            "samples": self._samples,
            "counted": len(self._totals),
            "shortest": min(self._totals, default=None),
            "median": median(self._totals) if self._totals else None,
            "longest": self._longest[0] or None,
            "longest_at": self._longest[2],
            "over_context": sum(total > self.plan.context for total in self._totals),
            "media_tokens": self._media,
            "supervised_tokens": self._supervised,
        }
