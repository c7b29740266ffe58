"""What can be found in data, and which of it is an error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["error", "note"]

# In the order of the report: kind -> what it is, in words.
KINDS = {
    "syntax": "rows that cannot be parsed",
    "unknown_field": "rows with unknown fields",
    "row": "rows that do not add up",
    "duplicate_id": "ids that several rows have",
    "missing_file": "media files that are not there",
    "unreadable_file": "media files that cannot be read",
    "no_sound": "files without sound whose sound is asked for",
    "no_audio_encoder": "samples with sound for a composition that does not hear",
    "too_long": "samples longer than the context",
    "nothing_to_learn": "samples without supervised tokens",
    "same_content": "samples with the same media and texts as an earlier one",
    "same_file": "media files with the same content under several names",
}


@dataclass(frozen=True)
class Finding:
    """One thing that was found, with every row it concerns, in words."""

    level: Level
    kind: str
    text: str
    places: tuple[str, ...]


def sorted_findings(findings: list[Finding]) -> list[Finding]:
    """By kind, errors first; within a kind in the order they were found in."""
    order = {kind: number for number, kind in enumerate(KINDS)}
    return sorted(findings, key=lambda finding: (finding.level != "error", order[finding.kind]))
