"""What can be seen to be wrong with a run before it has a folder."""

from __future__ import annotations

import re
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from vlframe.errors import ConfigError, DataError
from vlframe.media.pixels import FITS
from vlframe.runs.session import Session


def check_stages(config: DictConfig) -> None:
    """What can be seen to be wrong before anything is built."""
    if not config.stages:
        raise ConfigError("the run has no stages; choose an experiment (experiment=quickstart) or add stages.<name>")
    for name, stage in config.stages.items():
        if stage.data is None and config.dataset is None:
            raise ConfigError(f"stage {name!r} has no data; choose a dataset (dataset=conversations dataset.path=…)")
        if stage.fit is not None and stage.fit not in FITS:
            raise ConfigError(f"stages.{name}.fit is {stage.fit!r}; it can be null, {', '.join(FITS)}")
    _check_device(config.trainer)
    missing = sorted(OmegaConf.missing_keys(config))
    if missing:
        keys = [re.sub(r"\[(\d+)\]", r".\1", key) for key in missing]  # as Hydra's command line writes a list's items
        raise ConfigError(f"the run needs values for {', '.join(keys)}; give them, like {keys[0]}=…")


def _check_device(settings: Any) -> None:
    """Of NVIDIA's, those that are asked for are there; Lightning knows the rest."""
    there = torch.cuda.device_count()
    wanted = settings.accelerator in ("gpu", "cuda") and not torch.backends.mps.is_available()
    if wanted and not there:
        raise ConfigError(
            f"trainer.accelerator is {settings.accelerator!r}, and torch finds no GPU on this machine; leave it at "
            f"auto, or say cpu"
        )
    if there and settings.accelerator in ("auto", "gpu", "cuda") and settings.devices > there:
        raise ConfigError(f"trainer.devices is {settings.devices}, and this machine has {there} GPU(s)")


def open_data(session: Session) -> dict[str, Any]:
    """The data of every stage, and a look at the benchmark's questions: what is wrong with the last of them is said
    now, and not when the stages before it are done."""
    datasets = stage_data(session)
    if session.config.benchmark is not None:
        from vlframe.evaluation.run import build_benchmark

        build_benchmark(session)
    return datasets


def stage_data(session: Session) -> dict[str, Any]:
    """A data set for each stage, by the stage's name."""
    datasets = {}
    for name, stage in session.config.stages.items():
        settings = stage.data if stage.data is not None else session.config.dataset
        datasets[name] = session.registry.build("dataset", settings)
        if not len(datasets[name]):
            raise DataError(f"stage {name!r} has no sample: its data set {settings.name!r} is empty")
    return datasets
