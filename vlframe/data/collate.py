"""Rows -> Batch. Training pads on the right, generation on the left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from vlframe.data.batch import UNLABELLED, Batch, Skipped
from vlframe.data.prepare import Row


@dataclass(frozen=True)
class Collate:
    """Pads rows to the longest; ``left`` for prompts that are to be continued."""

    pad_id: int = 0
    left: bool = False

    def __call__(self, items: Sequence[Row | Skipped]) -> Batch:
        rows = [item for item in items if isinstance(item, Row)]
        length = max((len(row.ids) for row in rows), default=0)
        ids_BS = torch.full((len(rows), length), self.pad_id, dtype=torch.long)
        labels_BS = torch.full((len(rows), length), UNLABELLED, dtype=torch.long)
        mask_BS = torch.zeros((len(rows), length), dtype=torch.bool)
        for number, row in enumerate(rows):
            place = slice(length - len(row.ids), length) if self.left else slice(0, len(row.ids))
            ids_BS[number, place] = torch.tensor(row.ids)
            labels_BS[number, place] = torch.tensor(row.labels)
            mask_BS[number, place] = ids_BS[number, place] != row.hidden if row.hidden is not None else True
        return Batch(
            ids_BS=ids_BS,
            labels_BS=labels_BS,
            mask_BS=mask_BS,
            media=tuple(item for row in rows for item in row.media),
            samples=tuple(row.id for row in rows),
            skipped=tuple(item for item in items if isinstance(item, Skipped)),
        )
