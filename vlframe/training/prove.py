"""``vlframe prove-resume``: a run that was cut and resumed beside one that was not, bit for bit.

Three processes train the same config: one straight through, one that ends at the cut, one that resumes it. A whole
number cuts at the end of that optimizer step, with a checkpoint, as a signal would; a fraction (11.5) kills the process
in the middle of the step that follows, as ``kill -9`` would, and the resumed run begins at the checkpoint before.
"""

from __future__ import annotations

import csv
import hashlib
import json
import multiprocessing
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from omegaconf import DictConfig, OmegaConf, open_dict
from safetensors.torch import load_file

from vlframe.errors import ConfigError
from vlframe.runs.checkpoint import latest
from vlframe.runs.folder import RunFolder, append_jsonl
from vlframe.table import render

# Of time, not of state
MEASURED = ("samples_per_second", "tokens_per_second", "data_wait_share", "peak_memory_gib", "train_seconds")
KILLED = 137


def prove(overrides: Sequence[str], steps: int, cut: float) -> bool:
    """Print what was compared; whether all of it was equal."""
    if not 0 < cut < steps:
        raise ConfigError(f"cut is {cut:g} and steps is {steps}; the cut lies between the first step and the last")
    with TemporaryDirectory(prefix="prove-resume-") as place:
        config = _config(overrides, steps, cut)
        straight = _leg(config, Path(place) / "straight", None)
        stopped = _leg(config, Path(place) / "cut", cut)
        resumed = _leg(config, stopped, None, resume=True)
        rows = compare(RunFolder.open(straight), RunFolder.open(resumed))
    print(render(rows))
    good = all(row["different"] == 0 and row["compared"] > 0 for row in rows)
    where = f"in the middle of step {int(cut) + 1}" if cut % 1 else f"after step {int(cut)}"
    print(f"cut {where} of {steps}: {'equal, bit for bit' if good else 'NOT EQUAL'}")
    return good


def _config(overrides: Sequence[str], steps: int, cut: float) -> DictConfig:
    """The asked config, shortened: ``steps`` shared among its stages, every step in the metrics, no benchmark."""
    from vlframe.app import compose, open_registry
    from vlframe.cli import plugin_arguments

    config = compose("train", overrides, open_registry(*plugin_arguments(overrides)))
    count = len(config.stages)
    if not count:
        raise ConfigError("the run has no stages; choose an experiment (experiment=quickstart)")
    with open_dict(config):
        for number, stage in enumerate(config.stages.values()):
            stage.steps, stage.epochs = steps // count + (number < steps % count), None
        config.benchmark, config.logger = None, {}
        config.trainer.progress, config.trainer.log_every = False, 1
        config.trainer.checkpoint_every = 1 if cut % 1 else 10 * steps
    return config


def _leg(config: DictConfig, place: Path, cut: float | None, resume: bool = False) -> Path:
    """Train in a process of its own, in new folders at ``place`` or on in the run folder that it is; the run folder."""
    config = OmegaConf.merge(config, {"resume" if resume else "runs": str(place)})
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "transformers"])  # imported once, not in each leg
    process = context.Process(target=_train, args=(OmegaConf.to_yaml(config), cut))
    process.start()
    process.join()
    allowed = (0, KILLED) if cut is not None and cut % 1 else (0,)
    if process.exitcode not in allowed:
        raise ConfigError(f"a leg of the proof ended with exit code {process.exitcode}; its messages are above")
    if resume:
        return place
    (folder,) = (place / config.name).iterdir()
    return folder


def _train(text: str, cut: float | None) -> None:
    multiprocessing.set_start_method(None, force=True)  # data workers as in any other run, not as this leg began
    from vlframe.app import open_registry
    from vlframe.config import RunConfig
    from vlframe.training.run import train
    from vlframe.training.stopping import Stop

    config = OmegaConf.merge(OmegaConf.structured(RunConfig), OmegaConf.create(text))
    assert isinstance(config, DictConfig)
    registry = open_registry(list(config.plugins.paths), config.plugins.strict)
    callbacks: list[Callback] = [RecordBatches()]
    if cut is not None and cut % 1:
        callbacks.append(KillInside(int(cut)))
    stop = Stop(step=int(cut)) if cut is not None and not cut % 1 else None
    train(config, registry, stop, callbacks)


class RecordBatches(Callback):
    """What each batch held: its samples, and a hash of everything in it."""

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: Any, batch_index: int) -> None:
        digest = hashlib.sha256()
        for tensor in (batch.ids_BS, batch.labels_BS, batch.mask_BS, *(item.tensor for item in batch.media)):
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
    """Ends the process without a word, half way through the accumulation window of the step after ``step``."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        window = trainer.accumulate_grad_batches
        inside = (batch_index + 1) % window == window // 2 if window > 1 else True
        done = module.first_step + trainer.global_step - (1 if window == 1 else 0)
        if inside and done == self.step:
            os._exit(KILLED)


def compare(one: RunFolder, two: RunFolder, *, batches: bool = True) -> list[dict[str, Any]]:
    """How many things of each sort there are, and how many differ. ``batches`` were recorded by ``RecordBatches``."""
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
    """Everything of training.pt but the clock."""
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
    """By stage and number. One that was drawn again after a kill must have been the same."""
    rows = [json.loads(line) for line in (folder.path / "batches.jsonl").read_text().splitlines()]
    found: dict[str, Any] = {}
    for row in rows:
        key = f"{row['stage']}/{row['batch']}"
        content = (tuple(row["samples"]), row["sha256"])
        found[key] = content if found.get(key, content) == content else ("drawn differently", key)
    return found


def _metrics(folder: RunFolder) -> dict[str, Any]:
    """Every value of every step; a step that is there twice is a difference."""
    with open(folder.metrics_csv, newline="") as file:
        rows = list(csv.DictReader(file))
    steps = [row["step"] for row in rows]
    values = {f"{row['step']}/{key}": value for row in rows for key, value in row.items() if not key.endswith(MEASURED)}
    return {**values, "steps": steps}
