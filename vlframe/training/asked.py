"""What a run's config asks for, checked without building anything: stages, data, devices.

torch is imported only where a device is asked about, so that a mistake is reported within a second or two.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from vlframe.config.asking import benchmarks_of
from vlframe.config.checks import refuse_missing
from vlframe.config.moved import relocated
from vlframe.config.problems import add_a_stage
from vlframe.config.schema import RunConfig
from vlframe.config.typed import plain
from vlframe.data.opened import check_data
from vlframe.distributed.environment import launched
from vlframe.errors import ConfigError
from vlframe.machine.cpus import cpus
from vlframe.machine.devices import what_lacks
from vlframe.model.objectives import settings_of
from vlframe.runs.places import absolute_paths
from vlframe.training.standing import LOSS

if TYPE_CHECKING:
    from vlframe.registry.registry import Registry


def check_asked(config: RunConfig, registry: Registry) -> None:
    """Check a new run before anything heavy is imported; the run itself checks everything again.

    A resumed run is checked with its own config, and processes that torchrun or srun started together have one that
    reports errors: both are left to the run.
    """
    if config.resume or launched():
        return
    check_stages(config)
    values = relocated(absolute_paths(plain(config)))
    for place, settings in _data_sets(config, values):
        check_data(registry, settings, place)
    check_device(config.trainer)


def _data_sets(config: RunConfig, values: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the settings of each data set that is used, with their place in the config."""
    if any(stage.data is None for stage in config.stages.values()):
        yield "dataset", values["dataset"]
    for name, stage in values["stages"].items():
        if stage["data"] is not None:
            yield f"stages.{name}.data", stage["data"]
    if values["validation"]["dataset"] is not None:
        yield "validation.dataset", values["validation"]["dataset"]
    chosen = {"benchmark": values["benchmark"]} | {
        f"benchmarks.{name}": item for name, item in values["benchmarks"].items()
    }
    for place, benchmark in chosen.items():
        if benchmark is not None and isinstance(benchmark.get("dataset"), Mapping):
            yield f"{place}.dataset", benchmark["dataset"]


def check_stages(config: RunConfig) -> None:
    """Check the stages."""
    if not config.stages:
        raise ConfigError(
            f"the run has no stages; choose an experiment (experiment=quickstart), or name one: {add_a_stage('main')}"
        )
    for name, stage in config.stages.items():
        if stage.data is None and config.dataset is None:
            raise ConfigError(f"stage {name!r} has no data; choose a dataset (dataset=conversations dataset.path=…)")
        if settings_of(config, stage) is None:  # a run that was saved before there were objectives
            raise ConfigError(f"stage {name!r} has no objective; choose one (objective=<name>, see vlframe list)")
    _check_evaluations(config)
    refuse_missing(plain(config), "the run")


def _check_evaluations(config: RunConfig) -> None:
    """Check that the configured evaluations in training are possible."""
    settings, validated = config.evaluation, config.validation.dataset is not None
    if settings.every is not None and not validated and not benchmarks_of(config):
        raise ConfigError(
            f"evaluation.every is {settings.every}, and there is nothing to evaluate; choose validation.dataset=…, "
            f"benchmark=…, or leave it out"
        )
    if config.early_stopping.patience is not None and settings.every is None:
        raise ConfigError(
            f"early_stopping.patience is {config.early_stopping.patience}, and nothing is evaluated in training; say "
            f"evaluation.every=<steps>, or leave it out"
        )
    if settings.best_by == LOSS and not validated:
        raise ConfigError("evaluation.best_by is 'loss', that of the validation data; choose validation.dataset=…")
    if settings.best_by not in (None, LOSS) and (not benchmarks_of(config) or settings.every is None):
        raise ConfigError(
            f"evaluation.best_by is {settings.best_by!r}, a score; it needs a benchmark, and evaluation.every=<steps>"
        )


def check_device(settings: Any) -> None:
    """Check that the requested devices exist."""
    import torch

    from vlframe.distributed.ranks import devices_of_node

    check_accelerator(settings.accelerator)
    there = torch.cuda.device_count()
    listed = list(settings.devices) if isinstance(settings.devices, list | tuple) else []
    on_gpus = there and settings.accelerator in ("auto", "gpu", "cuda")
    if listed and not on_gpus:
        raise ConfigError(
            f"trainer.devices is {listed}, which names GPUs, and this run has none (trainer.accelerator is "
            f"{settings.accelerator!r}, torch finds {there} GPU(s)); say how many processes, like "
            f"trainer.accelerator=cpu trainer.devices={len(listed)}"
        )
    devices = devices_of_node(settings)
    shared = not there and settings.accelerator == "auto" and devices > 1
    if shared and not torch.backends.mps.is_available() and find_spec("torch_xla") is None:
        raise ConfigError(
            f"trainer.devices is {settings.devices}, and torch finds no GPU on this machine: {devices} processes would "
            f"share its {cpus().usable} CPU cores, each with its own copy of the model; say trainer.devices=1, or "
            f"trainer.accelerator=cpu where that is meant"
        )
    if on_gpus and max([devices, *(number + 1 for number in listed)]) > there:
        raise ConfigError(f"trainer.devices is {listed or settings.devices}, and this machine has {there} GPU(s)")


def check_accelerator(accelerator: str) -> None:
    if lacking := what_lacks(accelerator):
        raise ConfigError(
            f"trainer.accelerator is {accelerator!r}, which needs {lacking}, and torch finds none on this machine; "
            f"leave it at auto, or say cpu"
        )
