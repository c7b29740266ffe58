"""The data of one stage, for Lightning."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from vlframe.data.collate import Collate
from vlframe.data.loader import data_loader
from vlframe.data.order import BatchOrder, SampleOrder
from vlframe.data.prepare import Prepare

if TYPE_CHECKING:
    from vlframe.config import LoaderConfig, StageConfig


class StageData(LightningDataModule):
    """Draws the batches of a stage in an order that depends on the seed and the position alone."""

    def __init__(self, rows: Prepare, stage: StageConfig, loader: LoaderConfig, *, seed: int, world: int) -> None:
        super().__init__()
        self.rows = rows
        self.stage = stage
        self.loader = loader
        self.seed = seed
        self.world = world
        self.batches_done = 0

    @property
    def draws(self) -> int | None:
        """Samples of a stage that is counted in epochs: each epoch has all of them, once, whatever the batches."""
        if self.stage.epochs is None:
            return None
        return math.ceil(round(len(self.rows) * self.stage.epochs, 6))  # 0.1 epochs of 30 samples are 3

    @property
    def batches(self) -> int:
        """Micro-batches of the stage, on each rank."""
        if self.draws is None:
            return self.stage.steps * self.stage.accumulate
        return math.ceil(self.draws / (self.stage.batch_size * self.world))

    @property
    def steps(self) -> int:
        """Optimizer steps of the stage."""
        return math.ceil(self.batches / self.stage.accumulate)

    def train_dataloader(self) -> DataLoader:
        order = SampleOrder(len(self.rows), self.seed, getattr(self.rows.samples, "parts", None))
        batches = BatchOrder(
            order,
            batch_size=self.stage.batch_size,
            total=self.batches,
            draws=self.draws,
            start=self.batches_done,
            rank=self.trainer.global_rank,
            world=self.world,
        )
        return data_loader(self.rows, self.loader, batch_sampler=batches, collate_fn=Collate())

    def state_dict(self) -> dict[str, Any]:
        return {"batches_done": self.trainer.lightning_module.batches_done}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.batches_done = state_dict["batches_done"]
