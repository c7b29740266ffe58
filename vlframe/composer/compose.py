"""Composes a parsed command line into a checked, frozen config."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from hydra._internal.hydra import Hydra
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from vlframe.composer.command_line import CommandLine, parse
from vlframe.composer.debug import with_debug
from vlframe.composer.explain import REFUSED, explain
from vlframe.composer.list_items import items_explained
from vlframe.composer.nested import with_places
from vlframe.composer.offer import hydra_with, offer, open_registry, schemas
from vlframe.composer.start import start_of
from vlframe.config.schema import RunConfig
from vlframe.config.typed import UnknownParameter, typed, unresolved
from vlframe.errors import ConfigError
from vlframe.registry.registry import Registry
from vlframe.registry.settle import settled
from vlframe.runs.saved import changed_since

__all__ = ["compose", "compose_line", "finished", "open_registry", "prepared"]


def compose(config_name: str, overrides: Sequence[str], registry: Registry) -> Any:
    """Compose the frozen config of a command line: RunConfig for "train", EvaluateConfig for "evaluate", …"""
    return compose_line(config_name, parse(config_name, overrides), registry)


def compose_line(config_name: str, line: CommandLine, registry: Registry) -> Any:
    """Compose the frozen config of a parsed command line."""
    offer(registry)
    schema = schemas()[config_name]
    try:
        with hydra_with(registry, folder_of(line)) as hydra:
            line = prepared(config_name, line, registry, hydra)
            config = _composed_line(hydra, start_of(config_name, line), line)
            return finished(config, config.hydra.runtime.choices, schema, line, registry)
    except REFUSED as error:
        raise explain(error, registry, schema.__dataclass_fields__) from error


def folder_of(line: CommandLine) -> Path | None:
    """Return the user's folder of configs (``--config-dir``)."""
    return None if line.flags.config_dir is None else Path(line.flags.config_dir).resolve()


def prepared(config_name: str, line: CommandLine, registry: Registry, hydra: Hydra) -> CommandLine:
    """Rewrite the command line into overrides that Hydra understands."""
    start = start_of(config_name, line)

    def choices(words: Sequence[str]) -> Mapping[str, str | None]:
        return composed_words(hydra, start, words).hydra.runtime.choices

    if config_name == "evaluate":  # a benchmark's data set comes with it, or changes the run's own
        return _changes_of_a_run(with_places(line, schemas()["train"], registry, choices))
    placed = with_places(line, schemas()[config_name], registry, choices)
    # The names of a checkpoint's further sources are defined by its format.
    return _taken_as_they_come(placed, ("sources.",)) if config_name == "convert" else placed


def _changes_of_a_run(line: CommandLine) -> CommandLine:
    """Force-add (``++``) the keys of ``vlframe evaluate``: Hydra has not read the run that they change, and they are
    checked against its config later.
    """
    places = ["evaluation.", "media.", "trainer."]
    if "benchmark" not in line.keys:
        places.append("benchmark.")
    chosen = [key.partition("@")[2] for key in line.keys if key.startswith("benchmark@")]
    places += [
        word.key
        for word in line.overrides
        if word.key.startswith("benchmarks.") and ".".join(word.key.split(".")[:2]) not in chosen
    ]
    return _taken_as_they_come(line, tuple(places))


def _taken_as_they_come(line: CommandLine, places: tuple[str, ...]) -> CommandLine:
    words = [
        word.moved(word.key, "++") if word.key.startswith(places) and not word.sign else word for word in line.overrides
    ]
    return replace(line, overrides=tuple(words))


def _composed_line(hydra: Hydra, start: str, line: CommandLine) -> DictConfig:
    """Compose all overrides of a command line."""
    with items_explained(line, partial(composed_words, hydra, start)):
        return composed_words(hydra, start, line.words)


def composed_words(hydra: Hydra, config_name: str, words: Sequence[str]) -> DictConfig:
    """Compose some overrides, as Hydra does for one job."""
    return hydra.compose_config(
        config_name=config_name,
        overrides=list(words),
        run_mode=RunMode.RUN,
        from_shell=False,
        with_log_configuration=False,
    )


def finished(
    config: DictConfig, choices: Mapping[str, Any], schema: type[Any], line: CommandLine, registry: Registry
) -> Any:
    """Remove Hydra's own part, fill in the experiment's name, apply ``debug``, check and freeze."""
    values = unresolved(OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"]))
    values |= dict.fromkeys(line.absent)
    if issubclass(schema, RunConfig):
        values = _of_a_run(schema, values, choices, registry)
    try:
        result: Any = settled(schema, values, registry)
    except UnknownParameter as error:
        if line.value("resume"):
            raise changed_since(error) from error
        raise
    if result.plugins.paths != line.plugin_paths:
        raise ConfigError(
            f"a config names plugins.paths={list(result.plugins.paths)}; files that are plugins are code, and are "
            f"named on the command line only"
        )
    return result


def _of_a_run(
    schema: type[Any], values: dict[str, Any], choices: Mapping[str, Any], registry: Registry
) -> dict[str, Any]:
    chosen = {group: name for group, name in choices.items() if name and not group.startswith("hydra/")}
    if values.get("name") == "default" and "experiment" in chosen:
        values["name"] = chosen["experiment"]
    values["choices"] = {**(values.get("choices") or {}), **chosen}
    asked = any((values.get("debug") or {}).values())  # otherwise there is nothing to rewrite
    return with_debug(schema, typed(schema, values), registry) if asked else values
