"""Compares a resumed run with an uninterrupted one, bit for bit.

Three processes train the same config: one uninterrupted, one that ends at the cut, one that resumes it. A whole number
cuts at the end of that optimizer step, with a checkpoint, as a signal would; a fraction (11.5) kills the process in the
middle of the next step, as ``kill -9`` would, and the resumed run begins at the previous checkpoint.
"""

from __future__ import annotations

import csv
import hashlib
import json
import multiprocessing
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from safetensors.torch import load_file

from vlframe.config.schema import RunConfig, run_schema
from vlframe.config.typed import plain
from vlframe.config.validation import EarlyStoppingConfig
from vlframe.errors import ConfigError
from vlframe.registry.registry import Registry
from vlframe.registry.settle import settled
from vlframe.runs.checkpoint import latest
from vlframe.runs.folder import RunFolder, append_jsonl

# Measurements, not state
MEASURED = ("samples_per_second", "tokens_per_second", "data_wait_share", "peak_memory_gib", "train_seconds")
KILLED = 137


def prove(config: RunConfig, steps: int, cut: float) -> list[dict[str, Any]]:
    """Run the proof; return a row for each thing compared: how many values, how many differ, and the first that
    does.
    """
    if not 0 < cut < steps:
        raise ConfigError(f"cut is {cut:g} and steps is {steps}; the cut must lie between the first step and the last")
    config = _shortened(config, steps, cut)
    with TemporaryDirectory(prefix="prove-resume-") as place:
        straight = _leg(config, Path(place) / "straight", None)
        stopped = _leg(config, Path(place) / "cut", cut)
        resumed = _leg(config, stopped, None, resume=True)
        return compare(RunFolder.open(straight), RunFolder.open(resumed))


def _shortened(config: RunConfig, steps: int, cut: float) -> RunConfig:
    """Return the config with ``steps`` shared among its stages, every step in the metrics, and no benchmark."""
    count = len(config.stages)
    if not count:
        raise ConfigError("the run has no stages; choose an experiment (experiment=quickstart)")
    if steps < count:
        raise ConfigError(
            f"steps is {steps}, to be shared among {count} stages ({', '.join(config.stages)}); give more"
        )
    stages = {
        name: replace(stage, steps=steps // count + (number < steps % count), epochs=None)
        for number, (name, stage) in enumerate(config.stages.items())
    }
    every = 1 if cut % 1 else 10 * steps
    trainer = replace(config.trainer, progress=False, log_every=1, checkpoint_every=every)
    config = replace(config, stages=stages, benchmark=None, benchmarks={}, logger={}, trainer=trainer)
    if config.validation.dataset is not None:
        return replace(config, evaluation=replace(config.evaluation, best_by=None))  # a benchmark's score, perhaps
    evaluation = replace(config.evaluation, every=None, best_by=None)
    return replace(config, evaluation=evaluation, early_stopping=EarlyStoppingConfig())


def _leg(config: RunConfig, place: Path, cut: float | None, resume: bool = False) -> Path:
    """Train in a separate process, in new folders at ``place`` or resuming the run folder ``place``; return the
    run folder.
    """
    config = replace(config, resume=str(place)) if resume else replace(config, runs=str(place))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "transformers"])  # imported once, not in each leg
    process = context.Process(target=_train, args=(plain(config), cut))
    process.start()
    process.join()
    allowed = (0, KILLED) if cut is not None and cut % 1 else (0,)
    if process.exitcode not in allowed:
        raise ConfigError(f"a leg of the proof ended with exit code {process.exitcode}; its messages are above")
    if resume:
        return place
    (folder,) = (place / config.name).iterdir()
    return folder


def _train(values: dict[str, Any], cut: float | None) -> None:
    multiprocessing.set_start_method(None, force=True)  # start data workers as in any other run, not like this process
    from vlframe.training.run import train
    from vlframe.training.stopping import Stop

    plugins = values["plugins"]
    registry = Registry.installed(plugins["paths"], plugins["strict"])
    config = settled(run_schema(), values, registry)
    callbacks: list[Callback] = [RecordBatches()]
    if cut is not None and cut % 1:
        callbacks.append(KillInside(int(cut)))
    stop = Stop(step=int(cut)) if cut is not None and not cut % 1 else None
    train(config, registry, stop, callbacks)


class RecordBatches(Callback):
    """Records what each batch held: its samples, and a hash of its whole content."""

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: Any, batch_index: int) -> None:
        digest = hashlib.sha256()
        tensors = (batch.ids_BS, batch.layout.mask_BS, batch.slots_N, batch.taught_L, batch.targets_L)
        for tensor in (*tensors, *(file.tensor for file in batch.files)):
            digest.update(str((tensor.dtype, tuple(tensor.shape))).encode())
            digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
        row = {
            "stage": module.name,
            "batch": module.batches_done,
            "samples": batch.samples,
            "sha256": digest.hexdigest(),
        }
        append_jsonl(Path(trainer.default_root_dir) / "batches.jsonl", [row])


class KillInside(Callback):
    """Kills the process, half way through the accumulation window of the step after ``step``."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: Trainer, module: Any, outputs: Any, batch: Any, batch_index: int) -> None:
        window = trainer.accumulate_grad_batches
        inside = (batch_index + 1) % window == window // 2 if window > 1 else True
        done = module.first_step + trainer.global_step - (1 if window == 1 else 0)
        if inside and done == self.step:
            os._exit(KILLED)


def compare(one: RunFolder, two: RunFolder, *, batches: bool = True) -> list[dict[str, Any]]:
    """Count the things of each sort and those that differ. ``batches`` were recorded by ``RecordBatches``."""
    ours, theirs = latest(one).path, latest(two).path
    return [
        _row("parameters and buffers", _weights(ours), _weights(theirs)),
        _row("optimizer, schedule, random state", _state(ours), _state(theirs)),
        *([_row("batches: order and content", _batches(one), _batches(two))] if batches else []),
        _row("metrics, by step", _metrics(one), _metrics(two)),
    ]


def _row(what: str, one: Mapping[str, Any], two: Mapping[str, Any]) -> dict[str, Any]:
    keys = one.keys() | two.keys()
    different = [key for key in sorted(keys) if key not in one or key not in two or not _equal(one[key], two[key])]
    return {"what": what, "compared": len(keys), "different": len(different), "first": (different or [""])[0]}


def _equal(one: Any, two: Any) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(two, torch.Tensor):
        return one.dtype == two.dtype and torch.equal(one, two)
    return bool(one == two)


def _weights(path: Path) -> dict[str, torch.Tensor]:
    return {
        f"{file.stem}/{key}": value for file in path.glob("*.safetensors") for key, value in load_file(file).items()
    }


def _state(path: Path) -> dict[str, Any]:
    """Return everything in training.pt except times."""
    content = torch.load(path / "training.pt", weights_only=True)
    content.pop("seconds")
    return {key: value for key, value in _flat(content) if "elapsed" not in key}


def _flat(value: Any, prefix: str = "") -> list[tuple[str, Any]]:
    if isinstance(value, Mapping):
        return [pair for key, item in value.items() for pair in _flat(item, f"{prefix}/{key}")]
    if isinstance(value, list | tuple):
        return [pair for number, item in enumerate(value) for pair in _flat(item, f"{prefix}/{number}")]
    return [(prefix, value)]


def _batches(folder: RunFolder) -> dict[str, Any]:
    """Return the batches by stage and number. One drawn again after a kill must be the same."""
    rows = [json.loads(line) for line in (folder.path / "batches.jsonl").read_text(encoding="utf-8").splitlines()]
    found: dict[str, Any] = {}
    for row in rows:
        key = f"{row['stage']}/{row['batch']}"
        content = (tuple(row["samples"]), row["sha256"])
        found[key] = content if found.get(key, content) == content else ("drawn differently", key)
    return found


def _metrics(folder: RunFolder) -> dict[str, Any]:
    """Return every value of every step; a step that occurs twice is a difference."""
    with open(folder.metrics_csv, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    steps = [row["step"] for row in rows]
    values = {f"{row['step']}/{key}": value for row in rows for key, value in row.items() if not key.endswith(MEASURED)}
    return {**values, "steps": steps}
