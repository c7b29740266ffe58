"""Compares our outputs with recordings of the original code, tensor by tensor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vlframe.contracts.checkpoint_format import Comparison
from vlframe.conversion.formats import open_format, recognise
from vlframe.errors import WeightsError
from vlframe.registry.registry import Registry
from vlframe.weights.files import read_tensors


@dataclass(frozen=True)
class Verified:
    """The comparisons of one recording."""

    file: str
    rows: list[Comparison]

    @property
    def compared(self) -> int:
        return sum(row.difference is not None for row in self.rows)

    @property
    def failed(self) -> int:
        """Return how many differences exceed their tolerance."""
        return sum(not row.passed for row in self.rows)

    @property
    def passed(self) -> bool:
        """Return whether something was compared and all differences are within their tolerances."""
        return bool(self.compared) and not self.failed


def verify(files: Sequence[str], format: str | None = None, registry: Registry | None = None) -> list[Verified]:
    """Compare each recording with what the plugins of a checkpoint format compute. WeightsError: no such recording.

    ``format`` None: for each recording, the installed one that recognises it.
    """
    registry = registry or Registry.installed()
    absent = [file for file in files if not Path(file).is_file()]
    if absent:
        raise WeightsError(f"there is no recording {absent[0]}")
    return [Verified(file, list(_comparisons(Path(file), format, registry))) for file in files]


def _comparisons(recording: Path, format: str | None, registry: Registry) -> Iterator[Comparison]:
    """Yield the comparisons of a format; of a recording of only frames, those of the front ends that know it."""
    pictures = [] if format else list(_of_pictures(recording, registry))
    if not pictures:
        reader = open_format(format or recognise(recording, registry), registry)
        yield from reader.verify(recording)
        return
    yield from pictures
    met = {row.name for row in pictures}
    for name in read_tensors(recording):
        if name.startswith("out/") and name not in met:
            yield Comparison(name, float("inf"), 0.0, "an output that is not known here")


def _of_pictures(recording: Path, registry: Registry) -> Iterator[Comparison]:
    for row in registry.rows("pixels"):
        if (replay := getattr(row.load_class(), "verify", None)) is not None:
            yield from replay(recording)
