"""The result of a check, for people and for scripts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from statistics import median
from typing import Any

from vlframe.datacheck.findings import KINDS, Finding
from vlframe.errors import some_of
from vlframe.table import render

SHOWN = 10  # findings of a kind that are printed; --json has them all
PLACES = 3  # rows shown per finding


@dataclass
class Report:
    """The result of a check. ``sources`` and ``files`` are rows of tables; ``tokens`` is None if lengths were not
    compared.

    ``remarks`` say how files were read, and what was not checked and why. ``decoded`` and ``cached`` count results read
    from files now and results known from their content.
    """

    sources: list[dict[str, Any]]
    files: list[dict[str, Any]]
    tokens: dict[str, Any] | None
    remarks: list[str]
    findings: list[Finding] = field(default_factory=list)
    decoded: int = 0
    cached: int = 0

    @property
    def levels(self) -> Counter[str]:
        return Counter(finding.level for finding in self.findings)

    @property
    def exit_code(self) -> int:
        return 1 if self.levels["error"] else 0

    def as_json(self) -> dict[str, Any]:
        return {"errors": self.levels["error"], "notes": self.levels["note"], **asdict(self)}

    def __str__(self) -> str:
        blocks = [render(self.sources)]
        if self.files:
            blocks.append(render(self.files))
        if self.tokens is not None:
            blocks.append(_tokens(self.tokens))
        blocks.append(
            "\n".join([*self.remarks, f"{self.decoded} taken from files now, {self.cached} known by content"])
        )
        for _, group in groupby(self.findings, lambda finding: (finding.level, finding.kind)):
            blocks.append(_group(list(group)))
        counts = ", ".join(f"{self.levels[level]} {level}(s)" for level in ("error", "note"))
        return "\n\n".join([*blocks, counts])


def _tokens(told: Mapping[str, Any]) -> str:
    """Describe the lengths before anything is cut."""
    if not told["counted"]:
        return f"tokens: no length of {told['samples']} samples is known; the context is {told['context']}"
    return (
        f"tokens: shortest {told['shortest']}, median {told['median']:g}, longest {told['longest']} "
        f"({told['longest_at']}); {told['over_context']} samples over the context of {told['context']}\n"
        f"counted for {told['counted']} of {told['samples']} samples: {told['media_tokens']} media tokens; "
        f"{told['supervised_tokens']} supervised tokens in all"
    )


def _group(findings: Sequence[Finding]) -> str:
    """Format the findings of one kind."""
    first = findings[0]
    lines = [f"{first.level}: {first.kind} ({KINDS[first.kind]}): {len(findings)}"]
    lines += [f"  {_places(finding.places)}: {finding.text}" for finding in findings[:SHOWN]]
    if len(findings) > SHOWN:
        lines.append(f"  … and {len(findings) - SHOWN} more; --json lists all")
    return "\n".join(lines)


def _places(places: Sequence[str]) -> str:
    return some_of(places, PLACES, between="; ")


def durations(seconds: Sequence[float]) -> Mapping[str, float | None]:
    """Summarise durations: shortest, median and longest in seconds, and the sum in hours."""
    if not seconds:
        return {"shortest_s": None, "median_s": None, "longest_s": None, "hours": None}
    return {
        "shortest_s": min(seconds),
        "median_s": median(seconds),
        "longest_s": max(seconds),
        "hours": sum(seconds) / 3600,
    }
