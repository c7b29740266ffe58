"""The DataLoader that training and evaluation share."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader

if TYPE_CHECKING:
    from vlframe.config import LoaderConfig
    from vlframe.data.prepare import Prepare


def data_loader(rows: Prepare, config: LoaderConfig, **options: Any) -> DataLoader:
    """A DataLoader that takes nothing from torch's global random state."""
    return DataLoader(
        rows,  # type: ignore[arg-type]
        num_workers=config.workers,
        prefetch_factor=config.prefetch if config.workers else None,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),
        worker_init_fn=_leave_stopping_to_the_parent,
        **options,
    )


def _leave_stopping_to_the_parent(worker: int) -> None:
    """A terminal sends SIGINT to all processes, and the parent still wants its batches to finish the step."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # not the parent's handler, which a fork brings along
