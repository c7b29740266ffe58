"""What came of the files: findings, and a table of them by kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vlframe.data.check.files import Taken
from vlframe.data.check.findings import Finding, Level
from vlframe.data.check.report import durations
from vlframe.data.check.survey import Ask

POLICY = {
    "drop": "its samples are left out and counted (media.missing_audio=drop)",
    "silence": "silence is heard in its place (media.missing_audio=silence)",
}


def file_findings(
    wanted: Mapping[Path, Mapping[Ask, Sequence[str]]], taken: Mapping[Ask, Taken], missing_audio: str
) -> Iterator[Finding]:
    """One for each file and reason, with the rows that ask for what it does not give."""
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
    """Files by what they are asked for: how many there are, how many are good, how long those are."""
    rows = []
    for kind, what in {"video": "video", "image": "image", "audio": "audio", "track": "tracks of videos"}.items():
        files: dict[Path, list[Taken]] = {}
        for ask, result in taken.items():
            if ("track" if ask.media.track else ask.media.kind) == kind:
                files.setdefault(Path(ask.media.path), []).append(result)
        if files:
            good = [results for results in files.values() if not any(result.problem for result in results)]
            seconds = [results[0].seconds for results in good if results[0].seconds is not None]
            rows.append({"files": what, "named": len(files), "good": len(good), **durations(seconds)})
    return rows
