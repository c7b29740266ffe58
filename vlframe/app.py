"""The file that knows Hydra (``hydra_guard`` and ``hydra_errors`` aside): the conf folder, the search path, typed
options, one task for each job."""

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from vlframe import config as schema
from vlframe.checks import check_given, check_values
from vlframe.cli import plugin_arguments
from vlframe.errors import ConfigError, PluginError, UserError
from vlframe.folders import cache_folder, conf_folder
from vlframe.hooks import KINDS
from vlframe.hydra_errors import explain
from vlframe.hydra_guard import refuse_strange_hydra
from vlframe.plugins import refuse_broken
from vlframe.registry import Registry
from vlframe.secrets import refuse_secret_values, refuse_secret_words
from vlframe.words import (
    FREE_TEXT,
    changes_of_a_run,
    config_of_run,
    is_hydras_own,
    refuse_loose_words,
    split_absent,
    value_of,
)

# command -> the config it starts from, and the function that does it
TASKS = {
    "train": ("train", "vlframe.training.run:train"),
    "plan": ("train", "vlframe.model.report:plan_command"),
    "evaluate": ("evaluate", "vlframe.evaluation.run:evaluate_command"),
    "predict": ("predict", "vlframe.evaluation.predict:predict_command"),
    "convert": ("convert", "vlframe.weights.convert:convert_command"),
    "export": ("export", "vlframe.weights.export:export_command"),
}

SCHEMAS = {
    "train": schema.RunConfig,
    "evaluate": schema.EvaluateConfig,
    "predict": schema.PredictConfig,
    "convert": schema.ConvertConfig,
    "export": schema.ExportConfig,
}
REFUSED = (HydraException, OmegaConfBaseException, YAMLError)  # of Hydra; put into our words

# ``${cache:weights/x}`` in a config is a file of vlframe's cache folder, wherever that is on this machine.
OmegaConf.register_new_resolver("cache", lambda path: str(cache_folder() / path), replace=True)


def run(command: str, arguments: Sequence[str]) -> int:
    """Compose the config of a command from its command line, and do it (once, or once per job of ``-m``)."""
    refuse_secret_words(arguments)
    paths, strict = plugin_arguments(arguments)
    registry = open_registry(paths, strict)
    config_name, path = TASKS[command]
    refuse_loose_words(arguments)
    arguments, absent = split_absent(_quoted(changes_of_a_run(config_name, arguments)))
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come to us, not to Hydra's own printer
    before = sys.argv
    sys.argv = [f"vlframe {command}", *arguments]
    errors: list[UserError] = []  # of the jobs; kept from Hydra, which would print a report of its own
    given = _Given(tuple(absent), tuple(paths), SCHEMAS[config_name], arguments)
    task = _task(path, registry, given, errors)
    try:
        refuse_strange_hydra(arguments, partial(_hydras_part, config_name), _PluginFolders.and_a_strangers)
        config_name = _start_from_run(config_name, arguments)
        hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name=config_name)(task)()
    except REFUSED as error:
        raise explain(error, registry, given.schema.__dataclass_fields__) from error
    finally:
        sys.argv = before
    if errors:
        raise errors[0] if len(errors) == 1 else UserError("; ".join(str(error) for error in errors))
    return 0


def compose(config_name: str, overrides: Sequence[str], registry: Registry) -> DictConfig:
    """The config that a command line would give; for tests and for people in a notebook."""
    _offer(registry)
    refuse_secret_words(overrides)
    paths, _ = plugin_arguments(overrides)
    overrides, absent = split_absent(_quoted(changes_of_a_run(config_name, overrides)))
    given = _Given(tuple(absent), tuple(paths), SCHEMAS[config_name], overrides)
    try:
        config_name = _start_from_run(config_name, overrides)
        with hydra.initialize_config_dir(str(conf_folder()), version_base="1.3"):
            composed = hydra.compose(config_name, overrides, return_hydra_config=True)
            return _finished(composed, composed.hydra.runtime.choices, given)
    except REFUSED as error:
        raise explain(error, registry, given.schema.__dataclass_fields__) from error


def open_registry(paths: Sequence[str] = (), strict: bool = False) -> Registry:
    """The installed plugins, offered to Hydra as typed options, presets and experiments."""
    registry = Registry.installed(paths, strict)
    _offer(registry)
    if strict:
        refuse_broken(registry.plugins)
    return registry


@dataclass(frozen=True)
class _Given:
    """What a command line says that Hydra does not: parts taken out, and the files that are plugins; which command
    it is of."""

    absent: tuple[str, ...]
    plugin_paths: tuple[str, ...]
    schema: type
    words: Sequence[str]


def _task(path: str, registry: Registry, given: _Given, errors: list[UserError]) -> Callable[[DictConfig], None]:
    module_name, function_name = path.split(":")

    def task(composed: DictConfig) -> None:
        its_own = _words_of_the_job(HydraConfig.get().overrides.task, given.words)
        try:
            config = _finished(composed, HydraConfig.get().runtime.choices, given)
            check_given(config)
            HydraConfig.instance().cfg = None  # Lightning reads it, and would give its ranks a stale command line
            getattr(import_module(module_name), function_name)(config, registry)
        except (UserError, *REFUSED) as error:
            told = error if isinstance(error, UserError) else explain(error, registry)
            errors.append(type(told)(f"{' '.join(its_own)}: {told}") if its_own else told)

    return task


def _words_of_the_job(words: Sequence[str], given: Sequence[str]) -> list[str]:
    """Those that tell a job of ``-m`` from its neighbours: of keys that were given several values."""
    swept = [word.partition("=")[0] for word in given if re.search(r"=.*[,(]", word)]
    return [word for word in words if word not in given and word.partition("=")[0] in swept]


def _quoted(arguments: Sequence[str]) -> list[str]:
    """Free text in Hydra's quotes: a question may hold commas, apostrophes, tags, any script."""
    quoted = []
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if key in FREE_TEXT and equals and not is_hydras_own(key, value):
            literal = value.replace("${", r"\${")  # no interpolation
            argument = f"{key}={QuotedString(literal, Quote.single).with_quotes()}"
        quoted.append(argument)
    return quoted


def _start_from_run(config_name: str, arguments: Sequence[str]) -> str:
    """With ``resume=<folder>``, that run's own config in place of ``conf/train.yaml``."""
    folder = value_of("resume", arguments)
    if config_name != "train" or folder in (None, "", "null"):
        return config_name
    ConfigStore.instance().store(name="resumed_run", node=config_of_run(folder, arguments), provider=folder)
    return "resumed_run"


def _hydras_part(config_name: str, words: Sequence[str]) -> DictConfig:
    with hydra.initialize_config_dir(str(conf_folder()), version_base="1.3"):
        return hydra.compose(config_name, list(words), return_hydra_config=True).hydra


def _finished(config: DictConfig, choices: Mapping[str, Any], given: _Given) -> DictConfig:
    """Ours without Hydra's own part; the experiment's name filled in, and everything checked that types cannot say."""
    plain = OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])
    for key in given.absent:
        plain[key] = None
    if plain.get("name") == "default" and choices.get("experiment"):
        plain.name = choices["experiment"]
    check_values(plain, given.schema)
    if tuple(plain.plugins.paths) != given.plugin_paths:
        raise ConfigError(
            f"a config names plugins.paths={list(plain.plugins.paths)}; files that are plugins are code, and are named "
            f"on the command line alone"
        )
    refuse_secret_values(plain)
    return plain


# --- what plugins bring ---


class _PluginFolders(SearchPathPlugin):
    """Plugin folders on Hydra's search path, for this process only."""

    folders: tuple[tuple[str, Path], ...] = ()
    stranger: Path | None = None  # what ``--config-dir`` names, while it is looked at

    @classmethod
    @contextmanager
    def and_a_strangers(cls, folder: Path) -> Iterator[None]:
        cls.stranger = folder
        try:
            yield
        finally:
            cls.stranger = None

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        if self.stranger:
            search_path.prepend(
                provider="command-line", path=f"file://{self.stranger}", anchor=SearchPathQuery(provider="schema")
            )
        for name, folder in self.folders:
            search_path.append(provider=name, path=f"file://{folder}")


def _offer(registry: Registry) -> None:
    store = ConfigStore.instance()
    for kind in KINDS:  # what an earlier registry in this process offered
        store.repo.pop(kind, None)
    _set_aside_untyped(registry)
    folders = tuple((plugin.name, plugin.conf) for plugin in registry.plugins if plugin.conf)
    _refuse_presets_named_like_rows(registry, folders)
    _refuse_presets_named_alike(folders)
    for name, node in SCHEMAS.items():
        store.store(name="run_schema" if name == "train" else f"{name}_schema", node=node, provider="vlframe")
    for row in registry.rows():
        store.store(group=row.component.kind, name=row.component.name, node=row.schema, provider=row.plugin.name)
    _PluginFolders.folders = folders
    Plugins.instance().register(_PluginFolders)


def _set_aside_untyped(registry: Registry) -> None:
    """Parameters that cannot be typed, or whose default is not of their type, are their plugin's failure alone."""
    for row in list(registry.rows()):
        try:
            OmegaConf.structured(row.schema)
        except OmegaConfBaseException as error:
            reason = f"the parameters of {row.component.kind} {row.component.name!r}: {str(error).splitlines()[0]}"
            registry.set_aside(row.plugin, reason)


def _refuse_presets_named_alike(folders: Sequence[tuple[str, Path]]) -> None:
    """Of two files of one name Hydra would take the first without a word."""
    owners: dict[Path, str] = {}
    for owner, folder in (("vlframe", conf_folder()), *folders):
        for file in folder.rglob("*.yaml"):
            first = owners.setdefault(file.relative_to(folder), owner)
            if first != owner:
                raise PluginError(
                    f"{first} and {owner} both have a {file.relative_to(folder)}; uninstall or rename one"
                )


def _refuse_presets_named_like_rows(registry: Registry, folders: Sequence[tuple[str, Path]]) -> None:
    for owner, folder in (("vlframe", conf_folder()), *folders):
        for row in registry.rows():
            preset = folder / row.component.kind / f"{row.component.name}.yaml"
            if preset.exists():
                raise PluginError(
                    f"{owner} has a preset {preset} with the name of the {row.component.kind} "
                    f"{row.component.name!r} of {row.plugin.name}; rename the preset"
                )
