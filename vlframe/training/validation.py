"""Computes the loss of validation data."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch.distributed.fsdp import FSDPModule
from torch.utils.data import DataLoader

from vlframe.data.collate import Collate
from vlframe.data.loader import data_loader
from vlframe.data.order import Draw
from vlframe.distributed.ranks import of_all_ranks, place
from vlframe.errors import DataError
from vlframe.runs.quarantine import QuarantineLimit, met_and_bad

if TYPE_CHECKING:
    from vlframe.config.schema import LoaderConfig
    from vlframe.data.prepare import PreparedSamples
    from vlframe.runs.quarantine import QuarantineLog
    from vlframe.training.module import StageModule


class Validation:
    """Validation data, prepared like the stage's own; every sample once, in the order of the data set, shared
    among ranks.
    """

    def __init__(
        self,
        rows: PreparedSamples,
        loader: LoaderConfig,
        *,
        batch_size: int,
        limit: float | None,
        quarantine: QuarantineLog,
    ) -> None:
        self.rows = rows
        self.loader = loader
        self.batch_size = batch_size
        self.limit = limit
        self.quarantine = quarantine

    def loss(self, module: StageModule) -> float:
        """Return the mean cross-entropy over all supervised tokens of all ranks, or what else the objective gives. All
        ranks call this. What an objective draws is the same every time, and does not advance the training's random
        state. DataError: no sample could be used, or too many could not.
        """
        total, tokens, met, bad = 0.0, 0, 0, 0
        drawn = torch.random.fork_rng(devices=[module.device] if module.device.type == "cuda" else [])
        with torch.no_grad(), module.trainer.precision_plugin.val_step_context(), drawn:
            torch.manual_seed(self.rows.seed)
            for batch in self._batches():
                self.quarantine.add(batch.quarantined)
                counts = met_and_bad(batch)
                met, bad = met + counts[0], bad + counts[1]
                loss, _ = module.loss_of(batch.to(module.device))
                if loss is not None:
                    total, tokens = total + float(loss.total), tokens + loss.tokens
        for shard in module.model.modules():
            if isinstance(shard, FSDPModule):  # stays gathered after a forward pass until its backward pass
                shard.reshard()
        sums = [sum(column) for column in zip(*of_all_ranks((total, tokens, met, bad)), strict=True)]
        share = QuarantineLimit(self.limit, len(self.rows))
        share.count(int(sums[2]), int(sums[3]), self.quarantine)
        if not sums[1]:
            raise DataError(
                f"the validation data has no usable sample: all {sums[2]} were quarantined. {self.quarantine.summary()}"
            )
        return sums[0] / sums[1]

    def _batches(self) -> DataLoader:
        batches = batches_of_rank(len(self.rows), self.batch_size, *place())
        return data_loader(self.rows, self.loader, batch_sampler=batches, collate_fn=Collate())


def batches_of_rank(samples: int, batch_size: int, rank: int, world: int) -> list[list[Draw]]:
    """Return the samples that a rank measures, batch by batch. Every rank has the same number of batches: shards wait
    for each other.
    """
    count = math.ceil(samples / (batch_size * world))
    firsts = [(number * world + rank) * batch_size for number in range(count)]
    return [[Draw(at, at) for at in range(first, min(first + batch_size, samples))] for first in firsts]
