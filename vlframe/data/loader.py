"""The DataLoader that training and evaluation share."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader

if TYPE_CHECKING:
    from vlframe.config.schema import LoaderConfig


def data_loader(rows: Any, config: LoaderConfig, **options: Any) -> DataLoader:
    """Return a DataLoader over a map-style data set that draws nothing from torch's global random state."""
    return DataLoader(
        rows,
        num_workers=config.workers,
        prefetch_factor=config.prefetch if config.workers else None,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),
        worker_init_fn=_leave_stopping_to_the_parent,
        **options,
    )


def _leave_stopping_to_the_parent(worker: int) -> None:
    """Ignore the first signal, which terminals and schedulers send to all processes: the parent needs this worker's
    batches to finish the step. A second SIGTERM, sent by the parent to a worker that does not end, kills as usual.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: signal.signal(number, signal.SIG_DFL))
