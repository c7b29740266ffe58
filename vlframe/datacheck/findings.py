"""The kinds of findings in data, and which of them are errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["error", "note"]

# In the order of the report: kind -> what it is, in words.
KINDS = {
    "syntax": "rows that cannot be parsed",
    "unknown_field": "rows with unknown fields",
    "row": "rows that are inconsistent",
    "duplicate_id": "ids that several rows share",
    "missing_file": "media files that do not exist",
    "unreadable_file": "media files that cannot be read",
    "no_sound": "files without sound where sound is requested",
    "no_encoder": "samples with media that the model has no encoder for",
    "too_long": "samples longer than the context",
    "nothing_to_learn": "samples without supervised tokens",
    "empty_answer": "samples with an empty answer",
    "quarantined": "data sets of which nothing, or too little, is left",
    "same_content": "samples with the same media and texts as an earlier one",
    "same_file": "media files with the same content under several names",
}


@dataclass(frozen=True)
class Finding:
    """A finding, with every row it concerns, in words."""

    level: Level
    kind: str
    text: str
    places: tuple[str, ...]


def sorted_findings(findings: list[Finding]) -> list[Finding]:
    """Sort by kind, errors first; within a kind in the order found."""
    order = {kind: number for number, kind in enumerate(KINDS)}
    return sorted(findings, key=lambda finding: (finding.level != "error", order[finding.kind]))
