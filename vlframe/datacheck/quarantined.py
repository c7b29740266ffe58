"""Counts the samples that a run with this config would quarantine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from vlframe.datacheck.findings import Finding
from vlframe.runs.quarantine import ALWAYS_ALLOWED

if TYPE_CHECKING:
    from vlframe.config.schema import RunConfig
    from vlframe.datacheck.files import Taken
    from vlframe.datacheck.lengths import Length


class Quarantined:
    """Samples by data set, and the first reason for which each is quarantined by the policies of ``media`` and
    ``text``; samples that would end a run are not included.
    """

    def __init__(self, config: RunConfig) -> None:
        self.drops = {
            "media": config.media.on_error == "skip",
            "missing_audio": config.media.missing_audio == "drop",
            "too_long": config.text.too_long == "drop",
        }
        self.limit = config.media.max_bad_share
        self.sources: list[tuple[str, str]] = []  # of each sample, by number, with its part of a mixture
        self.why: dict[int, str] = {}

    def meet(self, source: str, part: str, taken: list[Taken]) -> None:
        """Add the next sample with the results of its media."""
        number = len(self.sources)
        self.sources.append((source, part))
        for item in taken:
            if item.problem:
                self._lose(number, "missing_audio" if item.problem == "no_sound" else "media")

    def count(self, number: int, length: Length) -> None:
        if length.problem == "too_long":
            self._lose(number, "too_long")

    def _lose(self, number: int, why: str) -> None:
        if self.drops[why]:
            self.why.setdefault(number, why)

    def findings(self) -> Iterator[Finding]:
        """Report each data set of which nothing remains, or so little that a run would stop."""
        whole: set[str] = set()
        for source, samples in Counter(name for name, _ in self.sources).items():
            lost = Counter(why for number, why in self.why.items() if self.sources[number][0] == source)
            reasons = _counted(lost)
            count = lost.total()
            if count == samples:
                whole.add(source)
                text = f"none of its {samples} samples is left: {reasons}"
            elif self.limit is not None and count > max(ALWAYS_ALLOWED, self.limit * samples):
                text = (
                    f"{count} of its {samples} samples are quarantined ({reasons}): a run stops above "
                    f"media.max_bad_share={self.limit:g}"
                )
            else:
                continue
            yield Finding("error", "quarantined", text, (source,))
        for (source, part), samples in Counter(self.sources).items():
            lost = Counter(why for number, why in self.why.items() if self.sources[number] == (source, part))
            if part and lost.total() == samples and source not in whole:
                text = (
                    f"none of the {samples} samples of its part {part} is left: {_counted(lost)}; a run stops unless "
                    "media.max_bad_share=null"
                )
                yield Finding("error" if self.limit is not None else "note", "quarantined", text, (source,))


def _counted(lost: Counter[str]) -> str:
    return ", ".join(f"{count} for {why}" for why, count in sorted(lost.items()))
