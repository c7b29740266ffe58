"""Collates prepared samples into a Batch. Training pads on the right, generation on the left.

Every count, slot, position and target is made here, on the CPU, so that a step reads nothing back from the device. B
batch, S sequence, N media tokens, L supervised positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from vlframe.contracts.batch import Batch, MediaFile, MediaUse, Quarantined
from vlframe.contracts.language_model import padded_layout
from vlframe.data.prepare import PreparedSample


@dataclass(frozen=True)
class Collate:
    """Pads samples to the longest; on the ``left`` for prompts that will be continued."""

    pad_id: int = 0
    left: bool = False

    def __call__(self, items: Sequence[PreparedSample | Quarantined]) -> Batch:
        rows = [item for item in items if isinstance(item, PreparedSample)]
        length = max((len(row.ids) for row in rows), default=0)
        ids_BS = torch.full((len(rows), length), self.pad_id, dtype=torch.long)
        mask_BS = torch.zeros((len(rows), length), dtype=torch.bool)
        slots: list[int] = []
        taught: list[int] = []
        targets: list[int] = []
        fills: dict[int, float] = {}
        for number, row in enumerate(rows):
            first = length - len(row.ids) if self.left else 0
            here = number * length + first
            row_S = torch.tensor(row.ids, dtype=torch.long)
            ids_BS[number, first : first + len(row.ids)] = row_S.masked_fill(row_S < 0, self.pad_id)
            mask_BS[number, first : first + len(row.ids)] = row_S != row.hidden if row.hidden is not None else True
            fills |= {} if row.first is None else {here: row.first}
            slots += [here + at for at, token in enumerate(row.ids) if token < 0]
            for at in range(1, len(row.ids)):
                if row.supervised[at]:
                    taught.append(here + at - 1)
                    targets.append(row.ids[at])
        files, uses = distinct_media(rows)
        return Batch(
            ids_BS=ids_BS,
            layout=padded_layout(mask_BS),
            slots_N=torch.tensor(slots, dtype=torch.long),
            taught_L=torch.tensor(taught, dtype=torch.long),
            targets_L=torch.tensor(targets, dtype=torch.long),
            files=files,
            uses=uses,
            samples=tuple(row.id for row in rows),
            lengths=tuple(len(row.ids) for row in rows),
            quarantined=tuple(item for item in items if isinstance(item, Quarantined)),
            filled_R=torch.tensor(list(fills), dtype=torch.long) if fills else None,
            fills_R=torch.tensor(list(fills.values()), dtype=torch.float32) if fills else None,
            parts=tuple(row.part for row in rows),
            notes=tuple(note for row in rows if (note := _note(row))),
        )


def _note(row: PreparedSample) -> str:
    """Return the samplers' notes on a sample's clips; "" for none."""
    timelines = [item.timeline for item in row.media if item.timeline is not None]
    return "; ".join(f"{item.media.path}: {item.note}" for item in timelines if item.note)


def distinct_media(rows: Sequence[PreparedSample]) -> tuple[tuple[MediaFile, ...], tuple[MediaUse, ...]]:
    """Return each file once, and the place of each use, in the order of the slots."""
    places: dict[object, int] = {}
    files: list[MediaFile] = []
    uses: list[MediaUse] = []
    for row in rows:
        for item in row.media:
            if item.file.key not in places:
                places[item.file.key] = len(files)
                files.append(item.file)
            ids_I = torch.tensor(item.instruction, dtype=torch.long) if item.instruction else None
            uses.append(MediaUse(places[item.file.key], item.tokens, item.instruction, ids_I))
    return tuple(files), tuple(uses)
