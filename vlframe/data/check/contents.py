"""What is there twice."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from vlframe.data.check.findings import Finding
from vlframe.data.sample import Sample


class Contents:
    """Samples by their texts and by the content of their files, whatever these are called."""

    def __init__(self, sha256: Mapping[Path, str | None]) -> None:
        self.sha256 = sha256
        self._places: dict[bytes, list[str]] = {}

    def add(self, scope: str, place: str, sample: Sample) -> None:
        """``scope``: samples are compared with others of the same."""
        media = [
            (item.kind, self.sha256.get(item.path) or str(item.path), item.start, item.end) for item in sample.media
        ]
        told = repr((scope, sample.turns, media, sample.answer, sample.options))
        digest = hashlib.blake2b(told.encode(errors="surrogatepass"), digest_size=16).digest()
        self._places.setdefault(digest, []).append(place)

    def findings(self) -> list[Finding]:
        return [
            Finding("note", "same_content", f"{len(places)} rows have the same media and texts", tuple(places))
            for places in self._places.values()
            if len(places) > 1
        ]


def same_files(sha256: Mapping[Path, str | None], rows: Mapping[Path, Sequence[str]]) -> list[Finding]:
    """Files that are equal, with the rows that name them."""
    paths: dict[str, list[Path]] = {}
    for path, content in sha256.items():
        if content is not None:
            paths.setdefault(content, []).append(path)
    return [
        Finding("note", "same_file", f"{', '.join(map(str, equal))} have the same content", _together(equal, rows))
        for equal in paths.values()
        if len(equal) > 1
    ]


def _together(paths: Sequence[Path], rows: Mapping[Path, Sequence[str]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(place for path in paths for place in rows[path]))
