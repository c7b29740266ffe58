"""Handles failed steps: the samples of the batch are kept in the run's folder."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vlframe.errors import OutOfMemory, TrainingError
from vlframe.runs.checkpoint import checkpoints
from vlframe.runs.folder import RunFolder, write_json

if TYPE_CHECKING:
    from vlframe.contracts.batch import Batch


# What else to try after a loss that is not finite.
FURTHER = {"16": ", or trainer.precision=bf16 or 32 (float16 ends at 65504)"}


class NonFinite(RuntimeError):
    """A loss that is not finite, with ``describe_batch``'s description of its batch."""

    def __init__(self, value: float, batch: Mapping[str, Any]) -> None:
        super().__init__(f"the loss is {value}")
        self.loss = value
        self.batch = batch


class FiniteWatch:
    """Checks every loss without waiting for the device.

    On the CPU a loss is checked at once. On a device its value is copied to the CPU asynchronously, and checked when
    the copy has arrived, at the latest in ``settle``.
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[Tensor, Any, Mapping[str, Any]]] = deque()

    def add(self, loss: Tensor, batch: Mapping[str, Any]) -> None:
        """Check this loss and earlier ones that have arrived. Raises ``NonFinite``."""
        if loss.device.type != "cuda":
            _check(loss, batch)
            return
        value = torch.empty((), dtype=torch.float32, pin_memory=True)
        value.copy_(loss.float(), non_blocking=True)
        event = torch.cuda.Event()
        event.record()
        self._waiting.append((value, event, batch))
        while self._waiting and self._waiting[0][1].query():
            value, _, earlier = self._waiting.popleft()
            _check(value, earlier)

    def settle(self) -> None:
        """Wait for all losses added so far. Raises ``NonFinite``."""
        while self._waiting:
            value, event, batch = self._waiting.popleft()
            event.synchronize()
            _check(value, batch)


def _check(value: Tensor, batch: Mapping[str, Any]) -> None:
    if not torch.isfinite(value):
        raise NonFinite(float(value), batch)


def describe_batch(batch: Batch | None, stage: str, step: int) -> dict[str, Any]:
    """Return the content of ``failed_batch.json`` for a batch, without reading from the device."""
    uses = batch.uses if batch is not None else ()
    return {
        "stage": stage,
        "step": step,
        "samples": list(batch.samples) if batch is not None else [],
        "tokens": list(batch.lengths) if batch is not None else [],
        "media": [{"kind": batch.files[use.file].kind, "tokens": use.tokens} for use in uses] if batch else [],
    }


@contextmanager
def explained(described: Callable[[], Mapping[str, Any]], folder: RunFolder, precision: str) -> Iterator[None]:
    """Turn a non-finite loss, or out of memory, into an error that names the batch. ``described`` returns
    ``describe_batch``'s description of the current batch.
    """
    try:
        yield
    except NonFinite as error:
        raise TrainingError(_keep(error.batch, folder, str(error)) + FURTHER.get(precision, "")) from error
    except (torch.OutOfMemoryError, RuntimeError) as error:
        if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        raise _out_of_memory(described(), folder) from error
    except MemoryError as error:
        raise _out_of_memory(described(), folder) from error


def _out_of_memory(batch: Mapping[str, Any], folder: RunFolder) -> OutOfMemory:
    return OutOfMemory(_keep(batch, folder, "memory ran out"), batch["stage"])


def _keep(batch: Mapping[str, Any], folder: RunFolder, what: str) -> str:
    """Write ``failed_batch.json`` and return the message about it."""
    write_json(folder.path / "failed_batch.json", {**batch, "what": what})
    rows = sorted(zip(batch["tokens"], batch["samples"], strict=True), reverse=True)
    longest = ", ".join(f"{name} ({length} tokens)" for length, name in rows[:3])
    return (
        f"stage {batch['stage']}, step {batch['step']}: {what}. The batch has {len(rows)} samples, the longest are "
        f"{longest}; all are in {folder.path / 'failed_batch.json'}. {_saved(folder)}; look at these "
        "samples, or try a smaller lr or batch_size"
    )


def _saved(folder: RunFolder) -> str:
    """Say which checkpoint a failed run leaves."""
    found = checkpoints(folder)
    return f"The checkpoint {found[-1].path.name} is kept" if found else "No checkpoint had been written yet"
