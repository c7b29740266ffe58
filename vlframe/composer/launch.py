"""Tasks of ours on Hydra's launchers: here one after the other, or wherever joblib, submitit and ray take them.

Hydra composes nothing of a run: each of its jobs is the number of a task, and what the task does is ours.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from hydra._internal.callbacks import Callbacks
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig

from vlframe.composer.command_line import parse
from vlframe.composer.explain import REFUSED, explain
from vlframe.composer.offer import hydra_with
from vlframe.errors import ConfigError, UserError, named_line
from vlframe.registry.registry import Registry

START = "tasks"
QUIET = [{"override hydra/job_logging": "none"}, {"override hydra/hydra_logging": "none"}]
NODE = {"defaults": ["_self_", "hydra_quiet", *QUIET], "task": 0}


class Tasks:
    """What Hydra calls for each job: ``path`` ("module:function") with a task and the plugins."""

    def __init__(self, path: str, tasks: Sequence[Any], plugin_paths: Sequence[str], registry: Registry) -> None:
        self.path = path
        self.tasks = list(tasks)
        self.plugin_paths = tuple(plugin_paths)
        self._registry: Registry | None = registry
        self.__name__ = "vlframe"

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_registry": None}  # opened again in another process

    def __call__(self, config: DictConfig) -> Any:
        number = int(config.task)
        HydraConfig.instance().cfg = None  # Lightning reads it, and would give its ranks a stale command line
        module, function = self.path.split(":")
        registry = self._registry or Registry.installed(self.plugin_paths)
        return getattr(import_module(module), function)(self.tasks[number], registry)


def launched(
    path: str, tasks: Sequence[Any], words: Sequence[str], folder: Path, registry: Registry, plugin_paths: Sequence[str]
) -> list[Any]:
    """Do every task, and return what each returned. ``words`` choose Hydra's launcher, whose files go to ``folder``.

    ConfigError: there is no such launcher. What a task raises is raised here.
    """
    ConfigStore.instance().store(name=START, node=NODE, provider="vlframe")
    line = parse("study", [*words, f"hydra.sweep.dir={json.dumps(str(folder))}"])
    try:
        with hydra_with(registry) as hydra:
            composed = hydra.compose_config(START, line.words, run_mode=RunMode.MULTIRUN, with_log_configuration=False)
            context = HydraContext(config_loader=hydra.config_loader, callbacks=Callbacks(composed))
            work = Tasks(path, tasks, plugin_paths, registry)
            return _launch(context, work, composed, len(tasks), own=not words)
    except REFUSED as error:
        raise explain(error, registry) from error


def _launch(context: HydraContext, work: Tasks, composed: DictConfig, count: int, *, own: bool) -> list[Any]:
    """Start the jobs and wait for them. ``own``: they are done in this process, and what they raise is theirs."""
    try:
        launcher = Plugins.instance().instantiate_launcher(hydra_context=context, task_function=work, config=composed)
        jobs = launcher.launch([[f"task={number}"] for number in range(count)], initial_job_idx=0)
        return [job.return_value for job in jobs]
    except REFUSED:
        raise
    except Exception as error:
        if own or isinstance(error, UserError):
            raise
        raise ConfigError(
            f"Hydra's launcher ({composed.hydra.runtime.choices['hydra/launcher']}) did not bring its jobs to an end: "
            f"{named_line(error)}; what was done is kept, and the same command goes on"
        ) from error
