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
    """Terminals and schedulers send their signal to all processes, and the parent still wants its batches to finish the
    step. A second SIGTERM, which is the parent's own when a worker does not end, kills as it always did."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: signal.signal(number, signal.SIG_DFL))
