"""Findings about files, and a table of files by kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vlframe.contracts.modalities import TAGS
from vlframe.contracts.reader import ClipPath, clip_path
from vlframe.datacheck.files import Taken
from vlframe.datacheck.findings import Finding, Level
from vlframe.datacheck.report import durations
from vlframe.datacheck.survey import Ask

POLICY = {
    "drop": "its samples are quarantined (media.missing_audio=drop)",
    "silence": "silence takes its place (media.missing_audio=silence)",
}


def file_findings(
    wanted: Mapping[ClipPath, Mapping[Ask, Sequence[str]]], taken: Mapping[Ask, Taken], missing_audio: str
) -> Iterator[Finding]:
    """Yield a finding for each file and problem, with the rows affected."""
    for path, asks in wanted.items():
        found: dict[tuple[Level, str, str], dict[str, None]] = {}
        for ask, places in asks.items():
            said = _said(taken[ask], missing_audio)
            if said is not None:
                found.setdefault(said, {}).update(dict.fromkeys(places))
        for (level, kind, text), where in found.items():
            yield Finding(level, kind, f"{path}: {text}", tuple(where))


def _said(taken: Taken, missing_audio: str) -> tuple[Level, str, str] | None:
    if taken.problem == "no_sound":
        if missing_audio == "drop":
            return "note", "no_sound", f"{taken.text}; {POLICY['drop']}"
        return "error", "no_sound", taken.text
    if taken.problem:
        return "error", taken.problem, taken.text
    if taken.silent:
        return "note", "no_sound", f"it has no sound; {POLICY['silence']}"
    return None


def file_rows(taken: Mapping[Ask, Taken]) -> list[dict[str, Any]]:
    """Count files by what is requested of them: all, good ones, and the durations of those."""
    rows = []
    for kind, what in {**{name: name for name in TAGS}, "track": "tracks of videos"}.items():
        files: dict[ClipPath, list[Taken]] = {}
        for ask, result in taken.items():
            if ("track" if ask.media.track else ask.media.kind) == kind:
                files.setdefault(clip_path(ask.media.path), []).append(result)
        if files:
            good = [results for results in files.values() if not any(result.problem for result in results)]
            seconds = [results[0].seconds for results in good if results[0].seconds is not None]
            rows.append({"files": what, "named": len(files), "good": len(good), **durations(seconds)})
    return rows
