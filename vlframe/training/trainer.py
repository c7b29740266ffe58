"""Builds Lightning's Trainer for one stage from a config."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.plugins.environments import LightningEnvironment

from vlframe.distributed.launch import started
from vlframe.distributed.ranks import devices_of_node, world_size
from vlframe.distributed.replicas import ReplicatedStrategy
from vlframe.distributed.sharding import ShardedStrategy
from vlframe.training.loss_scale import LossScaling

if TYPE_CHECKING:
    from lightning.pytorch.profilers import Profiler

    from vlframe.config.schema import RunConfig, StageConfig, TrainerConfig
    from vlframe.runs.folder import RunFolder
    from vlframe.training.checkpoint_io import PartsCheckpointIO

PRECISION: dict[str, Literal["32-true", "bf16-mixed"]] = {"32": "32-true", "bf16": "bf16-mixed"}  # 16: a plugin


def make_trainer(
    config: RunConfig,
    stage: StageConfig,
    *,
    folder: RunFolder,
    loggers: Sequence[Logger],
    callbacks: Sequence[Callback],
    io: PartsCheckpointIO,
    profiler: Profiler | None,
    bar: bool,
) -> Trainer:
    settings = config.trainer
    return Trainer(
        accelerator=settings.accelerator,
        devices=list(settings.devices) if isinstance(settings.devices, list | tuple) else devices_of_node(settings),
        num_nodes=settings.num_nodes,
        strategy=_strategy(settings),
        precision=PRECISION.get(settings.precision),
        max_epochs=1,
        accumulate_grad_batches=stage.accumulate_grad_batches,
        gradient_clip_val=stage.max_grad_norm or None,
        log_every_n_steps=settings.log_every,
        logger=list(loggers),
        callbacks=list(callbacks),
        profiler=profiler,
        plugins=[
            io,
            started() or LightningEnvironment(),  # Lightning would read the variables of Slurm's batch scripts
            *([LossScaling("cpu" if settings.accelerator == "cpu" else "cuda")] if settings.precision == "16" else []),
        ],
        default_root_dir=str(folder.path),
        enable_checkpointing=False,
        enable_progress_bar=bar,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
    )


def _strategy(settings: TrainerConfig) -> Any:
    """Return a strategy in which ranks may have batches without video, sound, or any sample, without blocking
    the others.
    """
    if settings.strategy == "fsdp":
        return ShardedStrategy()
    return ReplicatedStrategy() if settings.strategy == "ddp" or world_size(settings) > 1 else "auto"


def quiet_lightning() -> None:
    """Silence Lightning's reports of devices that were not found, and advice that does not apply here."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*DataLoader will create .* worker processes")  # the run says it itself
    warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")
    warnings.filterwarnings("ignore", message=".*your dataloader is not resumable.*")  # our data module is
    warnings.filterwarnings("ignore", message=".*module.s. in eval mode at the start.*")  # frozen parts are
    warnings.filterwarnings("ignore", message="Detected call of .lr_scheduler.step")  # the first step may be skipped
