"""Compares our outputs with recordings of the original code, tensor by tensor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vlframe.conversion.formats import open_format, recognise
from vlframe.errors import WeightsError
from vlframe.registry.registry import Registry

if TYPE_CHECKING:
    from vlframe.contracts.checkpoint_format import Comparison


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
    found = []
    for file in files:
        reader = open_format(format or recognise(Path(file), registry), registry)
        found.append(Verified(file, list(reader.verify(Path(file)))))
    return found
