"""Compares a stage's cost with the prediction: memory, time and tokens, in the log and in ``cost.json``."""

from __future__ import annotations

import ctypes
import json
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import Callback, Trainer

from vlframe.distributed.devices import UTILISATION, device_here
from vlframe.distributed.ranks import imagined
from vlframe.machine.memory import gigabytes
from vlframe.machine.precision import low_type
from vlframe.model.cost import pass_cost
from vlframe.runs.folder import RunFolder, write_json
from vlframe.runs.log import log
from vlframe.training.prediction import Resident, resident_bytes, why_not

if TYPE_CHECKING:
    from vlframe.contracts.batch import Batch
    from vlframe.training.callbacks import Throughput

LEAST = 64_000_000  # bytes; less is not told apart from what else a process takes
_warm = False  # whether this process has trained: in the first stage on a CPU it also grows by what libraries load


class PredictedAndMeasured(Callback):
    """Predicts a stage's cost from its first micro-batch, before it is computed, and then measures it.

    It must come after all callbacks that evaluate or save, so that these are not counted as waiting for data. With a
    sharded language model it only measures: the prediction needs whole parameters.
    """

    def __init__(self, folder: RunFolder, precision: str, throughput: Throughput) -> None:
        self.folder = folder
        self.precision = precision
        self.predicted: dict[str, Any] = {}
        self.memory = PeakMemory()
        self.tokens = 0  # of the largest micro-batch
        self.resident = Resident()
        self.times = StepTimes(throughput)

    def on_train_batch_start(self, trainer: Trainer, module: Any, batch: Batch, batch_index: int) -> None:
        if self.tokens == 0 and trainer.is_global_zero:
            self.resident = resident_bytes(module.model)
            if not module.sharded and batch.supervised:
                self.predicted = self._predict(trainer, module, batch)
            self.memory.begin(module.device)
        self.tokens = max(self.tokens, batch.ids_BS.numel())
        self.times.begin()

    def _predict(self, trainer: Trainer, module: Any, batch: Batch) -> dict[str, Any]:
        accumulates = trainer.accumulate_grad_batches > 1
        try:
            low, loss = low_type(self.precision), module.objective.loss
            with imagined(trainer.world_size):  # the other ranks predict nothing, and must not be waited for
                cost = pass_cost(module.model, batch, loss=loss, low=low, accumulates=accumulates)
        except Exception as error:  # e.g. a part that reads values, of which the meta device has none; the run goes on
            log.info("stage %s: its cost is not predicted: %s", module.name, why_not(error))
            return {}
        kept = self.resident.total if accumulates else self.resident.weights + self.resident.optimizer
        flops = cost.flops * trainer.accumulate_grad_batches
        device = device_here("cpu" if module.device.type == "cpu" else "auto")
        sharing = trainer.num_devices if device.shared else 1
        return {
            "peak_bytes": kept + cost.peak,
            "activation_bytes": cost.activations,
            "flops_per_step": flops,
            "seconds_per_step": device.seconds(flops * sharing, self.precision),
            "tokens_per_micro_batch": batch.ids_BS.numel(),
        }

    def on_train_batch_end(self, trainer: Trainer, module: Any, outputs: Any, batch: Any, batch_index: int) -> None:
        self.times.end(module.steps_done)

    def on_train_end(self, trainer: Trainer, module: Any) -> None:
        global _warm
        first, _warm = not _warm and module.device.type == "cpu", True
        if not trainer.is_global_zero or not self.tokens:
            return
        measured = {
            "peak_bytes": None if first else self.memory.peak(self.resident.weights),
            "seconds_per_step": self.times.per_step("computing"),
            "waiting_per_step": self.times.per_step("waiting"),
            "steps": self.times.steps,
            "tokens_per_micro_batch": self.tokens,
        }
        held = {
            "weight_bytes": self.resident.weights,
            "gradient_bytes": self.resident.gradients,
            "optimizer_bytes": self.resident.optimizer,
        }
        costs = json.loads(self.folder.cost.read_text(encoding="utf-8")) if self.folder.cost.is_file() else {}
        costs[module.name] = {**held, "predicted": self.predicted, "measured": measured}
        write_json(self.folder.cost, costs)
        for said in sentences(self.predicted, measured, on_cpu=module.device.type == "cpu"):
            log.info("stage %s: %s", module.name, said)


class StepTimes:
    """The seconds of a stage's steps after the first, which warms up: computing, and waiting for the next micro-batch.
    What evaluates and saves between them is in neither.
    """

    def __init__(self, throughput: Throughput) -> None:
        self.throughput = throughput  # the first callback: it knows when a micro-batch was computed
        self.computing = self.waiting = 0.0
        self.began = self.ended = 0.0
        self.first_step: int | None = None  # steps done when counting began
        self.steps = 0

    def begin(self) -> None:
        self.began = time.perf_counter()
        if self.first_step is not None:
            self.waiting += self.began - self.ended

    def end(self, steps_done: int) -> None:
        if self.first_step is not None:
            self.computing += self.throughput.computed_at - self.began
            self.steps = steps_done - self.first_step
        elif steps_done > 0:
            self.first_step = steps_done
        self.ended = time.perf_counter()

    def per_step(self, what: str) -> float | None:
        """Return the mean seconds of ``computing`` or ``waiting``; None if there was one step only."""
        return getattr(self, what) / self.steps if self.steps else None


def sentences(predicted: dict[str, Any], measured: dict[str, Any], *, on_cpu: bool) -> list[str]:
    """Return what a step took, beside its prediction where they can be compared."""
    return [_time(predicted, measured), _memory(predicted, measured, on_cpu), _tokens(predicted, measured)]


def _time(predicted: dict[str, Any], measured: dict[str, Any]) -> str:
    seconds = predicted.get("seconds_per_step")
    guess = "" if seconds is None else f"{seconds:.3g} s predicted, at {UTILISATION:.0%} of the device's peak"
    if measured["seconds_per_step"] is None:
        return f"a step computes {guess or 'for a time that is not known'}; not measured, as the first step warms up"
    return (
        f"a step computed {measured['seconds_per_step']:.3g} s{f' ({guess})' if guess else ''} and waited "
        f"{measured['waiting_per_step']:.3g} s for its data (means; steps after the first: {measured['steps']})"
    )


def _memory(predicted: dict[str, Any], measured: dict[str, Any], on_cpu: bool) -> str:
    guess, found = predicted.get("peak_bytes"), measured["peak_bytes"]
    what = "weights, gradients, optimizer states and activations"
    told = "memory at once is not predicted" if guess is None else f"{gigabytes(guess)} at once predicted ({what})"
    if found is None:
        why = "the first stage of a process also loads libraries" if on_cpu else "the system does not tell"
        return f"{told}; not measured: {why}"
    if on_cpu and guess is not None and guess < LEAST:
        return f"{told}; not measured: that is little beside what else the process takes"
    how = "the weights and the growth of the process, with what its allocator keeps" if on_cpu else "by torch"
    return f"{told}, {gigabytes(found)} measured ({how})"


def _tokens(predicted: dict[str, Any], measured: dict[str, Any]) -> str:
    first = predicted.get("tokens_per_micro_batch")
    beside = "" if first is None else f"; predicted for the first, of {first:,}"
    return f"{measured['tokens_per_micro_batch']:,} tokens in the largest micro-batch{beside}"


class PeakMemory:
    """The peak memory of a stage: of the GPU; elsewhere the weights and the growth of the process."""

    def __init__(self) -> None:
        self.device = torch.device("cpu")
        self.before: int | None = None

    def begin(self, device: torch.device) -> None:
        self.device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        elif sys.platform == "linux":
            _give_back()
            with suppress(OSError):  # not writable in some containers
                Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # resets the system's own peak
                self.before = _status("VmRSS")

    def peak(self, weights: int) -> int | None:
        """Return bytes; None if the system does not report them."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        return None if self.before is None else weights + max(0, _status("VmHWM") - self.before)


def _give_back() -> None:
    """Let the C library return what earlier stages freed, so that a stage that uses it again also grows by it."""
    with suppress(AttributeError):  # musl has no such function, and keeps little
        ctypes.CDLL(None).malloc_trim(0)


def _status(field: str) -> int:
    """Return a size of this process, in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))
