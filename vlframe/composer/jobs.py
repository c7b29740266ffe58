"""Runs one job, or the jobs of ``-m``: composes each config, runs the command, and gathers the results.

Jobs may run in other processes (Hydra's launchers: joblib, submitit, ray), so each writes its result to a file in the
folder of the sweep (``vlframe.runs.sweep``).
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.hydra import Hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from vlframe.composer.command_line import CommandLine
from vlframe.composer.compose import composed_words, finished, folder_of, prepared
from vlframe.composer.explain import REFUSED, explain
from vlframe.composer.guard import refuse_strange_hydra
from vlframe.composer.help import help_of
from vlframe.composer.list_items import items_explained
from vlframe.composer.offer import hydra_with, open_registry, schemas
from vlframe.composer.start import start_of
from vlframe.config.checks import check_given
from vlframe.config.schema import SweepConfig
from vlframe.config.secrets import redacted
from vlframe.config.typed import plain
from vlframe.errors import UserError, for_users, named_line
from vlframe.registry.registry import Registry
from vlframe.runs.sweep import read_jobs, record_job

NOT_OF_THE_RUN = ("hydra.sweep.dir", "resume", "resume_changes")
BASIC_SWEEPER = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"


class JobsFailed(UserError):
    """Some jobs of ``-m`` failed, or were never begun; the others finished."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True)
class Failure:
    """The value of a failed job, where only vlframe reads it."""

    error: UserError


def run_jobs(
    config_name: str,
    path: str,
    line: CommandLine,
    after_sweep: Callable[[Path], None] | None = None,
    more: Mapping[str, str] | None = None,
) -> Any:
    """Run ``path`` ("module:function" of a config and a registry) with the config of a command line; return its value.
    ``more`` are arguments of the function that are not part of the config.

    With ``-m``, run it once per job and return a list. UserError: the problems of each job that failed. ``after_sweep``
    is called with the sweep's folder at the end, even if jobs failed.
    """
    registry = open_registry(line.plugin_paths, line.strict)
    schema = schemas()[config_name]
    try:
        _refuse_strange_hydra(config_name, line, registry)
        with hydra_with(registry, folder_of(line)) as hydra:
            line = prepared(config_name, line, registry, hydra)
            start = line.flags.config_name or start_of(config_name, line)
            with items_explained(line, partial(composed_words, hydra, start)):
                if _only_shows(hydra, start, line, schema, registry):
                    return None
                job = Job(line, schema, path, registry, more or {})
                several = line.flags.multirun or line.value("hydra.mode") == "MULTIRUN"
                return _sweep(hydra, start, line, job, after_sweep) if several else _once(hydra, start, line, job)
    except REFUSED as error:
        raise explain(error, registry, schema.__dataclass_fields__) from error


def _refuse_strange_hydra(config_name: str, line: CommandLine, registry: Registry) -> None:
    def hydras_part(words: Sequence[str], folder: Path | None) -> DictConfig:
        with hydra_with(registry, folder, first=True) as hydra:  # so that nothing in it is hidden
            return hydra.compose_config(
                config_name=config_name,
                overrides=list(words),
                run_mode=RunMode.RUN,
                from_shell=False,
                with_log_configuration=False,
            ).hydra

    refuse_strange_hydra(line, folder_of(line), hydras_part)


def _only_shows(hydra: Hydra, start: str, line: CommandLine, schema: type[Any], registry: Registry) -> bool:
    """Do what a flag asks for instead of running the command; return whether there was such a flag."""
    flags = line.flags
    if flags.help:
        print(help_of(hydra, start, line, schema, registry))
    elif flags.hydra_help:
        hydra.hydra_help(config_name=start, args_parser=get_args_parser(), args=flags)
    elif flags.cfg:
        hydra.show_cfg(start, line.words, cfg_type=flags.cfg, package=flags.package, resolve=flags.resolve)
    elif flags.info:
        hydra.show_info(flags.info, config_name=start, overrides=line.words)
    else:
        return False
    return True


def _once(hydra: Hydra, start: str, line: CommandLine, job: Job) -> Any:
    value = hydra.run(start, job, line.words).return_value
    if isinstance(value, Failure):
        raise value.error
    return value


def _sweep(hydra: Hydra, start: str, line: CommandLine, job: Job, after: Callable[[Path], None] | None) -> list[Any]:
    of_all = hydra.compose_config(
        start, line.words, run_mode=RunMode.MULTIRUN, with_log_configuration=False, validate_sweep_overrides=False
    )
    folder = str(of_all.hydra.sweep.dir)  # resolved once, so that every process uses the same one
    job.sweep = Path(folder).resolve()
    job.asked = _asked(hydra, line, of_all, job)
    problem: BaseException | None = None
    try:
        hydra.multirun(start, job, [*line.words, f"hydra.sweep.dir={json.dumps(folder)}"])
    except REFUSED:
        raise
    except Exception as error:
        problem = error
    outcomes = read_jobs(job.sweep)
    if after is not None and outcomes:
        after(job.sweep)
    failed = [item for item in outcomes if item["error"] or item["exit_code"] is None]
    failures = [_failure(item, job.sweep) for item in failed]
    if problem is not None:
        failures += _never_begun(job.asked or (), [item["words"] for item in outcomes])
        if not failures:
            raise problem
    if failures:
        raise JobsFailed("; ".join(failures), failed[0]["exit_code"] or 1 if failed else 1) from problem
    return [item["value"] for item in outcomes]


def _failure(outcome: Mapping[str, Any], sweep: Path) -> str:
    """Return what became of a job that failed, in one sentence; print the traceback of a fault in the program."""
    words = " ".join(outcome["words"])
    if outcome["exit_code"] is None:
        return f"{words}: its process ended before the job did (killed, out of memory, or a crash in native code)"
    if outcome["traceback"]:
        print(f"\n{words}:\n{outcome['traceback'].rstrip()}", file=sys.stderr, flush=True)
        return f"{words}: {outcome['error']} (traceback above, and in {sweep / 'jobs'})"
    return f"{words}: {outcome['error']}"


def _never_begun(asked: Sequence[Sequence[str]], begun: Sequence[Sequence[str]]) -> list[str]:
    """Return a sentence for each known job that was not begun because the launcher failed before."""
    return [f"{' '.join(words)}: the launcher failed before it began" for words in asked if words not in begun]


def _asked(hydra: Hydra, line: CommandLine, composed: DictConfig, job: Job) -> list[list[str]] | None:
    """Return the own words of each job that Hydra's own sweeper will begin; None for other sweepers, whose jobs are not
    known before they begin.
    """
    if composed.hydra.sweeper._target_ != BASIC_SWEEPER:
        return None
    parsed = OverridesParser.create(hydra.config_loader).parse_overrides(line.words)
    (jobs,) = BasicSweeper.split_arguments(parsed, None)
    return [job.own_words(words) for words in jobs]


class Job:
    """The callable that Hydra runs for each job, in this process or in another one, where the plugins are
    opened again.
    """

    def __init__(
        self, line: CommandLine, schema: type[Any], path: str, registry: Registry, more: Mapping[str, str]
    ) -> None:
        self.line = line
        self.schema = schema
        self.path = path
        self.more = dict(more)
        self.sweep: Path | None = None  # its folder
        self.asked: list[list[str]] | None = None  # the own words of each job of the sweep, where they are known
        self._registry: Registry | None = registry
        self.__name__ = "vlframe"

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_registry": None}

    def __call__(self, composed: DictConfig) -> Any:
        hydra: Any = HydraConfig.get()
        number = hydra.job.get("num", 0) + 1  # people count from 1
        words: Any = OmegaConf.to_container(hydra.overrides.task, resolve=False)  # as typed
        basic = hydra.sweeper._target_
        own = self.own_words(words)
        if self.sweep is not None:
            total = f" of {len(self.asked)}" if self.asked else ""
            print(f"job {number}{total}: {' '.join(own)}", flush=True)
        self._record(number, own, exit_code=None)
        try:
            value = self._do(composed, hydra.runtime.choices, words, own, number)
        except (Exception, SystemExit) as error:  # a plugin that exits ends its own job only
            if known := for_users(error):
                self._record(number, own, error=redacted(str(known)), exit_code=known.exit_code)
                return self._failed(known, known, basic)
            text = named_line(error)
            self._record(number, own, error=text, exit_code=1, traceback=redacted(traceback.format_exc()))
            return self._failed(error, UserError(text), basic)
        self._record(number, own, value=value if isinstance(value, int | float | str) else None)
        return value

    def _failed(self, error: BaseException, failure: UserError, sweeper: str) -> Failure:
        """Return the failure where the other jobs go on; raise the error in a single run, and for an adaptive sweeper,
        which has to see it.
        """
        if self.sweep is None and isinstance(error, UserError):
            return Failure(error)
        if self.sweep is None or sweeper != BASIC_SWEEPER:
            raise error if isinstance(error, Exception) or self.sweep is None else failure
        return Failure(failure)

    def _do(
        self, composed: DictConfig, choices: Mapping[str, Any], words: Sequence[str], own: Sequence[str], number: int
    ) -> Any:
        registry = self._registry or Registry.installed(self.line.plugin_paths, self.line.strict)
        try:
            config = finished(composed, choices, self.schema, self.line, registry)
        except REFUSED as error:
            raise explain(error, registry) from error
        config = self._with_origin(config, words, own, number)
        check_given(self.schema, plain(config))
        HydraConfig.instance().cfg = None  # Lightning would pass its stale command line on to other ranks
        module_name, function_name = self.path.split(":")
        return getattr(import_module(module_name), function_name)(config, registry, **self.more)

    def _with_origin(self, config: Any, words: Sequence[str], own: Sequence[str], number: int) -> Any:
        """Record the typed overrides and the sweep in the config. A resumed run keeps those it began with."""
        known = {item.name for item in fields(config)}
        origin: dict[str, Any] = {}
        if "words" in known:
            typed = [word for word in words if word.partition("=")[0].lstrip("+~") not in NOT_OF_THE_RUN]
            origin["words"] = config.words or tuple(typed)
        if "sweep" in known and self.sweep is not None:
            origin["sweep"] = SweepConfig(str(self.sweep), number, tuple(own))
        return replace(config, **origin)

    def own_words(self, words: Sequence[str]) -> list[str]:
        """Return the overrides that distinguish a job from the others: keys with several values, or set by a
        sweeper.
        """
        last = {word.key: word for word in self.line.overrides}
        fixed = {*NOT_OF_THE_RUN, *(key for key, word in last.items() if not word.varies)}
        return [word for word in words if word.partition("=")[0].lstrip("+~") not in fixed]

    def _record(self, number: int, words: Sequence[str], **outcome: Any) -> None:
        if self.sweep is not None:
            record_job(self.sweep, number, words, **outcome)
