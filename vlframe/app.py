"""The file that knows Hydra (``hydra_guard`` aside): the conf folder, the search path, typed options, its errors in our
words."""

import os
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
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException
from yaml import YAMLError

from vlframe import config as schema
from vlframe.cli import plugin_arguments
from vlframe.errors import ConfigError, PluginError, UnknownName, UserError, did_you_mean
from vlframe.folders import cache_folder, conf_folder
from vlframe.hooks import KINDS
from vlframe.hydra_guard import refuse_strange_hydra
from vlframe.plugins import refuse_broken
from vlframe.registry import Registry
from vlframe.secrets import refuse_secret_values, refuse_secret_words
from vlframe.words import FREE_TEXT, config_of_run, is_hydras_own, split_absent, value_of

# command -> the config it starts from, and the function that does it
TASKS = {
    "train": ("train", "vlframe.training.run:train"),
    "plan": ("train", "vlframe.model.report:plan_command"),
    "evaluate": ("evaluate", "vlframe.evaluation.run:evaluate_command"),
    "predict": ("predict", "vlframe.evaluation.predict:predict_command"),
    "convert": ("convert", "vlframe.weights.convert:convert_command"),
    "export": ("export", "vlframe.weights.export:export_command"),
}

# ``${cache:weights/x}`` in a config is a file of vlframe's cache folder, wherever that is on this machine.
OmegaConf.register_new_resolver("cache", lambda path: str(cache_folder() / path), replace=True)


def run(command: str, arguments: Sequence[str]) -> int:
    """Compose the config of a command from its command line, and do it (once, or once per job of ``-m``)."""
    refuse_secret_words(arguments)
    paths, strict = plugin_arguments(arguments)
    registry = open_registry(paths, strict)
    config_name, path = TASKS[command]
    arguments, absent = split_absent(_quoted(arguments))
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come to us, not to Hydra's own printer
    before = sys.argv
    sys.argv = [f"vlframe {command}", *arguments]
    errors: list[UserError] = []  # of the jobs; kept from Hydra, which would print a report of its own
    task = _task(path, registry, _Given(tuple(absent), tuple(paths)), errors)
    try:
        refuse_strange_hydra(arguments, partial(_hydras_part, config_name), _PluginFolders.and_a_strangers)
        config_name = _start_from_run(config_name, arguments)
        hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name=config_name)(task)()
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        raise explain(error, registry) from error
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
    overrides, absent = split_absent(_quoted(overrides))
    try:
        config_name = _start_from_run(config_name, overrides)
        with hydra.initialize_config_dir(str(conf_folder()), version_base="1.3"):
            composed = hydra.compose(config_name, overrides, return_hydra_config=True)
            return _finished(composed, composed.hydra.runtime.choices, _Given(tuple(absent), tuple(paths)))
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        raise explain(error, registry) from error


def open_registry(paths: Sequence[str] = (), strict: bool = False) -> Registry:
    """The installed plugins, offered to Hydra as typed options, presets and experiments."""
    registry = Registry.installed(paths, strict)
    _offer(registry)
    if strict:
        refuse_broken(registry.plugins)
    return registry


@dataclass(frozen=True)
class _Given:
    """What a command line says that Hydra does not: parts taken out, and the files that are plugins."""

    absent: tuple[str, ...]
    plugin_paths: tuple[str, ...]


def _task(path: str, registry: Registry, given: _Given, errors: list[UserError]) -> Callable[[DictConfig], None]:
    module_name, function_name = path.split(":")

    def task(composed: DictConfig) -> None:
        try:
            config = _finished(composed, HydraConfig.get().runtime.choices, given)
            HydraConfig.instance().cfg = None  # Lightning reads it, and would give its ranks a stale command line
            getattr(import_module(module_name), function_name)(config, registry)
        except UserError as error:
            errors.append(error)

    return task


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
    _check_choices(plain)
    if tuple(plain.plugins.paths) != given.plugin_paths:
        raise ConfigError(
            f"a config names plugins.paths={list(plain.plugins.paths)}; files that are plugins are code, and are named "
            f"on the command line alone"
        )
    refuse_secret_values(plain)
    return plain


def _check_choices(config: DictConfig) -> None:
    for key, allowed in schema.CHOICES.items():
        group, _, name = key.partition(".")
        settings = config.get(group)  # `media` of predict is not settings, but files
        value = settings.get(name) if isinstance(settings, DictConfig) else settings if not name else None
        if value is not None and value not in allowed:
            raise ConfigError(f"{key} is {value!r}; it can be {', '.join(allowed)}")
    for name, stage in (config.get("stages") or {}).items():
        for part in schema.PARTS:
            if stage[part].train not in ("frozen", "full", "lora"):
                raise ConfigError(f"stages.{name}.{part}.train is {stage[part].train!r}; it can be frozen, full, lora")
        if (stage.steps is None) == (stage.epochs is None):
            raise ConfigError(f"stages.{name} needs steps or epochs, and not both")


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
    for name, node in (
        ("run_schema", schema.RunConfig),
        ("evaluate_schema", schema.EvaluateConfig),
        ("predict_schema", schema.PredictConfig),
        ("convert_schema", schema.ConvertConfig),
        ("export_schema", schema.ExportConfig),
    ):
        store.store(name=name, node=node, provider="vlframe")
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


# --- Hydra's errors in our words ---


def explain(error: Exception, registry: Registry) -> UserError:
    """One clear message: which key or name, what is wrong with it, what is allowed."""
    if isinstance(error, YAMLError):
        return ConfigError(f"a config cannot be read: {' '.join(str(error).split())}")
    if isinstance(error, OverrideParseException):
        reason = str(error).splitlines()[0]
        return ConfigError(f"{error.override!r} cannot be read: {reason} (quote it for the shell, like 'key=[1,2]')")
    cause = error if isinstance(error, OmegaConfBaseException) else error.__cause__
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return _missing_option(error, registry)
    if isinstance(cause, OmegaConfBaseException) and cause.full_key:
        return ConfigError(_key_problem(cause))
    return ConfigError(" ".join(str(error).split()))


def _missing_option(error: MissingConfigException, registry: Registry) -> UserError:
    group, _, name = str(error.missing_cfg_file).rpartition("/")
    options = sorted(set(error.options or []))
    if group in KINDS and not options:
        options = registry.names(group)
    return UnknownName(registry.unknown(group or "config", name, options))


def _key_problem(error: OmegaConfBaseException) -> str:
    parent = error.parent_node
    if isinstance(error, ConfigKeyError | ConfigAttributeError) and isinstance(parent, DictConfig):
        keys = sorted(str(key) for key in parent)
        where = error.full_key.rpartition(".")[0] or "the config"
        return f"there is no key {error.full_key!r}; {where} has {', '.join(keys)}{did_you_mean(str(error.key), keys)}"
    reason = str(error.msg or error).splitlines()[0]
    return f"{error.full_key}: {reason}"
