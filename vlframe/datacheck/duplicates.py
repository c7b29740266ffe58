"""Finds duplicate samples and files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from vlframe.contracts.reader import ClipPath
from vlframe.contracts.sample import Sample
from vlframe.datacheck.findings import Finding


class Contents:
    """Groups samples by their texts and the content of their files, regardless of file names."""

    def __init__(self, sha256: Mapping[ClipPath, str | None]) -> None:
        self.sha256 = sha256
        self._places: dict[bytes, list[str]] = {}

    def add(self, scope: str, place: str, sample: Sample) -> None:
        """Add a sample. It is compared with others of the same ``scope``."""
        media = [
            (item.kind, self.sha256.get(item.path) or str(item.path), item.start, item.end) for item in sample.media
        ]
        told = repr((scope, sample.turns, media, sample.answers, sample.options))
        digest = hashlib.blake2b(told.encode(errors="surrogatepass"), digest_size=16).digest()
        self._places.setdefault(digest, []).append(place)

    def findings(self) -> list[Finding]:
        return [
            Finding("note", "same_content", f"{len(places)} rows have the same media and texts", tuple(places))
            for places in self._places.values()
            if len(places) > 1
        ]


def same_files(sha256: Mapping[ClipPath, str | None], rows: Mapping[ClipPath, Sequence[str]]) -> list[Finding]:
    """Report equal files, with the rows that name them."""
    paths: dict[str, list[ClipPath]] = {}
    for path, content in sha256.items():
        if content is not None:
            paths.setdefault(content, []).append(path)
    return [
        Finding("note", "same_file", f"{', '.join(map(str, equal))} have the same content", _together(equal, rows))
        for equal in paths.values()
        if len(equal) > 1
    ]


def _together(paths: Sequence[ClipPath], rows: Mapping[ClipPath, Sequence[str]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(place for path in paths for place in rows[path]))
