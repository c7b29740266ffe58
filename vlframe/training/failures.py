"""A step that cannot be taken: which samples it was about, kept in the run's folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from vlframe.errors import TrainingError
from vlframe.runs.folder import RunFolder, write_json

if TYPE_CHECKING:
    from vlframe.training.module import StageModule


@contextmanager
def explained(module: StageModule, folder: RunFolder) -> Iterator[None]:
    """Turns a loss that is no number, and memory that ran out, into an error that names the batch."""
    try:
        yield
    except NonFinite as error:
        raise TrainingError(_keep(module, folder, str(error))) from error
    except (torch.OutOfMemoryError, RuntimeError) as error:
        if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        raise TrainingError(_keep(module, folder, "memory ran out")) from error
    except MemoryError as error:
        raise TrainingError(_keep(module, folder, "memory ran out")) from error


class NonFinite(RuntimeError):
    """A loss or a gradient that is not a finite number."""


def _keep(module: StageModule, folder: RunFolder, what: str) -> str:
    """``failed_batch.json`` and the message about it."""
    batch = module.batch
    samples = list(batch.samples) if batch is not None else []
    lengths = batch.mask_BS.sum(1).tolist() if batch is not None else []
    media = [(item.kind, item.tokens) for item in batch.media] if batch is not None else []
    step = module.steps_done + 1
    record = {
        "stage": module.name, "step": step, "what": what, "samples": samples, "tokens": lengths,
        "media": [{"kind": kind, "tokens": tokens} for kind, tokens in media],
    }  # fmt: skip
    write_json(folder.path / "failed_batch.json", record)
    rows = sorted(zip(lengths, samples, strict=True), reverse=True)
    longest = ", ".join(f"{name} ({length} tokens)" for length, name in rows[:3])
    return (
        f"stage {module.name}, step {step}: {what}. The batch has {len(samples)} samples, the longest are {longest}; "
        f"all are in {folder.path / 'failed_batch.json'}. The last checkpoint stays; look at these "
        "samples, or try a smaller lr or batch_size"
    )
