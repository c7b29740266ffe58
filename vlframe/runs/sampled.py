"""Counts the samples with clips of which the model sees other frames than asked for: cut, or filled."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vlframe.contracts.batch import Batch


class SamplerNotes:
    """Summarises the notes on clips over all samples: how often, and the first one."""

    def __init__(self) -> None:
        self.met = 0
        self.noted = 0
        self.first = ""

    def add(self, batch: Batch) -> None:
        self.met += len(batch)
        self.noted += len(batch.notes)
        self.first = self.first or next(iter(batch.notes), "")

    @staticmethod
    def together(others: Iterable[SamplerNotes]) -> SamplerNotes:
        """Return the combined counts of several processes."""
        whole = SamplerNotes()
        for item in others:
            whole.met, whole.noted = whole.met + item.met, whole.noted + item.noted
            whole.first = whole.first or item.first
        return whole

    def __str__(self) -> str:
        if not self.noted:
            return ""
        return f"{self.noted} of {self.met} samples had a clip that was cut or filled; the first: {self.first}"
