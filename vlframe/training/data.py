"""The data of one stage, for Lightning."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from vlframe.data.collate import Collate
from vlframe.data.loader import data_loader
from vlframe.data.order import BatchOrder, SampleOrder
from vlframe.data.prepare import PreparedSamples

if TYPE_CHECKING:
    from vlframe.config.schema import LoaderConfig, StageConfig


def draws_of(stage: StageConfig, samples: int) -> int | None:
    """Return the number of samples drawn by a stage counted in epochs; None for one counted in steps."""
    if stage.epochs is None:
        return None
    return math.ceil(round(samples * stage.epochs, 6))  # 0.1 epochs of 30 samples are 3


def batches_of(stage: StageConfig, samples: int, world: int) -> int:
    """Return the micro-batches of a stage, on each of ``world`` ranks."""
    draws = draws_of(stage, samples)
    if draws is None:
        assert stage.steps is not None  # a stage is counted in steps or in epochs
        return stage.steps * stage.accumulate_grad_batches
    return math.ceil(draws / (stage.batch_size * world))


def steps_of(stage: StageConfig, samples: int, world: int) -> int:
    """Return the optimizer steps of a stage."""
    return math.ceil(batches_of(stage, samples, world) / stage.accumulate_grad_batches)


class StageData(LightningDataModule):
    """Draws the batches of a stage in an order that depends only on the seed and the position."""

    def __init__(
        self, rows: PreparedSamples, stage: StageConfig, loader: LoaderConfig, *, seed: int, world: int
    ) -> None:
        super().__init__()
        self.rows = rows
        self.stage = stage
        self.loader = loader
        self.seed = seed
        self.world = world
        self.batches_done = 0

    @property
    def of_trainer(self) -> Any:
        """Return the trainer, which exists by the time data are requested."""
        return self.trainer

    @property
    def draws(self) -> int | None:
        """Return the samples of a stage counted in epochs: each epoch has all of them, once, whatever the batches."""
        return draws_of(self.stage, len(self.rows))

    @property
    def batches(self) -> int:
        """Return the micro-batches of the stage, on each rank."""
        return batches_of(self.stage, len(self.rows), self.world)

    @property
    def steps(self) -> int:
        """Return the optimizer steps of the stage."""
        return steps_of(self.stage, len(self.rows), self.world)

    def train_dataloader(self) -> DataLoader:
        order = SampleOrder(len(self.rows), self.seed, getattr(self.rows.samples, "subsets", None))
        batches = BatchOrder(
            order,
            batch_size=self.stage.batch_size,
            total=self.batches,
            draws=self.draws,
            start=self.batches_done,
            rank=self.of_trainer.global_rank,
            world=self.world,
        )
        return data_loader(self.rows, self.loader, batch_sampler=batches, collate_fn=Collate())

    def state_dict(self) -> dict[str, Any]:
        return {"batches_done": self.of_trainer.lightning_module.batches_done}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.batches_done = state_dict["batches_done"]
