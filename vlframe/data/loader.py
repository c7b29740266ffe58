"""The DataLoader that training and evaluation share."""

from __future__ import annotations

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
        **options,
    )
