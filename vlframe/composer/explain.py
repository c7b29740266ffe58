"""Explains Hydra's errors to users."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import Field, is_dataclass
from pathlib import Path
from typing import Any

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException
from yaml import YAMLError

from vlframe.config.fields import Law
from vlframe.config.problems import add_a_stage, key_problem
from vlframe.config.renamed import present_hint
from vlframe.config.typed import read_yaml
from vlframe.contracts.kinds import kinds
from vlframe.errors import ConfigError, UnknownName, UserError, one_line
from vlframe.paths import conf_folder
from vlframe.registry.presets import is_private, preset_files
from vlframe.registry.registry import Registry

LIKE_A_FILE = re.compile(r"\.[A-Za-z]\w{0,6}$")
REFUSED = (HydraException, OmegaConfBaseException, YAMLError)  # what Hydra raises about a config or a command line


def explain(error: Exception, registry: Registry, keys: Iterable[str] = ()) -> UserError:
    """Return one clear message: the key or name, what is wrong with it, and what is allowed. ``keys`` are the
    command's.
    """
    if isinstance(error, YAMLError):
        return ConfigError(f"a config cannot be read: {one_line(error)}")
    if found := re.match(r"Could not override '([^']+)'. No match", str(error)):
        return _not_chosen_here(found[1], keys)
    if found := re.match(r"Could not override '([^']+)'\.\s+Did you mean to override (\S+)@(\S+)\?", str(error)):
        return ConfigError(f"{found[1]!r} is chosen at {found[3]}; write {found[3]}=…")
    if found := re.match(
        r"Could not override '([^'@]+@[^']+)'", str(error)
    ):  # others of its group are chosen elsewhere
        return _not_chosen_here(found[1], keys)
    if found := re.match(r"Ambiguous value for argument '([^'=]+)=(.*?)'\n", str(error)):
        return ConfigError(
            f"{found[1]}={found[2]} has several values; add -m to run one job for each, or write a list in brackets "
            f"({found[1]}=[{found[2]}])"
        )
    if found := re.match(r"Multiple values for (\S+)\.|(\S+) appears more than once in the final defaults", str(error)):
        key = found[1] or found[2]
        return ConfigError(
            f"{key} is chosen twice; choose it with {key}=<name>, without +, on the command line, and with "
            f"`override /{key}: <name>` in a preset"
        )
    if isinstance(error, OverrideParseException):
        return unreadable_word(error)
    cause = _cause(error)
    if told := _not_taken_out(error, cause):
        return ConfigError(told)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return _missing_option(error, registry)
    if cause is not None and isinstance(keys, Mapping) and (told := _key_of_a_value(cause, keys)):
        return ConfigError(told)
    if cause is not None and cause.full_key:
        problem = key_problem(cause, lambda place, holder: _how_to_choose(place, holder, registry))
        return ConfigError(f"{_preset_at_fault(str(error), cause)}{problem}")
    if cause is not None and (found := re.match(r"Error merging override ([^=]+)=(\[.*\])", str(error))):
        key = found[1].lstrip("+")
        return ConfigError(f"{key} is {found[2]}; each item of it must be a mapping, like {{key: value}}")
    return ConfigError(one_line(error))


def _not_taken_out(error: Exception, cause: OmegaConfBaseException | None) -> str:
    """Explain why ``~key`` takes nothing out; "" for any other error."""
    if found := re.match(r"Could not delete from config\. '([^']+)' does not exist", str(error)):
        return (
            f"~{found[1]} takes out a key that is not there: nothing sets {found[1]}. ~ is for what a preset or an "
            "experiment adds, like a stage, a callback or a key of a mapping"
        )
    if cause is not None and cause.full_key and "does not support deletion" in str(cause):
        key = cause.full_key
        return (
            f"~{key} cannot be: {key} always has a value. Give it another one ({key}=<value>, or {key}=null where it "
            "may have none), or leave out the preset that sets it"
        )
    return ""


def _cause(error: Exception) -> OmegaConfBaseException | None:
    """Return OmegaConf's own error, which Hydra wraps, some of it without naming it as the cause."""
    at: BaseException | None = error
    while at is not None and not isinstance(at, OmegaConfBaseException):
        at = at.__cause__ or at.__context__
    return at


def _key_of_a_value(cause: OmegaConfBaseException, keys: Mapping[str, Field[Any]]) -> str:
    """Explain a key below one of the command's that holds a plain value (``media`` of predict is a file); "" for any
    other error.
    """
    place, _, below = str(cause.full_key or "").partition(".")
    law: Law | None = keys[place].metadata.get("law") if place in keys else None
    if not below or not isinstance(cause, ConfigKeyError | ConfigAttributeError) or law is None:
        return ""
    holds_keys = law.component or law.components or is_dataclass(keys[place].default_factory) or law.some_of
    if holds_keys or keys[place].default_factory is dict:
        return ""
    return f"there is no key {cause.full_key!r}: here {place} is {law.text}; {_taken(keys)}"


def _taken(keys: Iterable[str]) -> str:
    """Say which keys a command takes; one that uses a run has the run's own config for all others."""
    others = "; all other settings are those of the run" if "run" in keys else ""
    return f"this command takes {', '.join(keys)}{others}"


def _preset_at_fault(text: str, cause: OmegaConfBaseException) -> str:
    """Return the beginning of a sentence about a preset that sets a key the chosen component does not have; "" for a
    key of the command line.
    """
    found = re.match(r"In '([^']+)': ", text)
    if found is None:
        return ""
    place = str(cause.full_key).rpartition(".")[0]
    hint = (
        f" (a key of one component belongs in a preset of it, so that another {place} can be chosen)" if place else ""
    )
    return f"{found[1]} sets {cause.full_key}{hint}: "


def unreadable_word(error: OverrideParseException, *, typed: bool = True) -> ConfigError:
    """Explain a word outside Hydra's grammar, and how to quote it: for a shell if it was ``typed``, or in YAML."""
    key, _, value = error.override.partition("=")
    reason = str(error).splitlines()[0]
    where = "for the shell" if typed else "in YAML"
    if value[:1] in ("[", "{"):
        hint = f"""quote the texts inside it, and all of it {where}, like '{key}=[{{path: "a b.json"}}]'"""
        return ConfigError(f"{error.override!r} cannot be read: {reason} ({hint})")
    quoted = f"""'{key}="{value}"'""" if "'" not in value else "key=[1,2]"
    return ConfigError(f"{error.override!r} cannot be read: {reason} (quote it {where}, like {quoted})")


def _how_to_choose(place: str, holder: str, registry: Registry) -> str:
    """Return the overrides that put a component at an empty place, and the presets of its holder that have one
    there.
    """
    group, _, kind = place.rpartition(".")
    if kind not in kinds():
        return f"{place}=<name>"
    ready = [name for folder in _conf_folders(registry) for name in _with_one(folder / group, holder, kind)]
    names = registry.names(kind)
    presets = ", ".join(f"{group}={name}" for name in sorted(ready))
    more = f", or a preset that has one: {presets}" if ready else ""
    return f"{place}={names[0]} (there are {', '.join(names)}){more}"


def _with_one(folder: Path, holder: str, kind: str) -> list[str]:
    """Return the presets of a component that already choose one of this kind."""
    found = []
    for file in folder.glob("[!_]*.yaml"):
        defaults = read_yaml(file, resolve=False).get("defaults", [])
        if holder in defaults and any(f"/{kind}@{kind}" in item for item in defaults if isinstance(item, dict)):
            found.append(file.stem)
    return found


def _conf_folders(registry: Registry) -> list[Path]:
    return [conf_folder(), *(Path(plugin.conf) for plugin in registry.plugins if plugin.conf)]


def _not_chosen_here(group: str, keys: Iterable[str]) -> ConfigError:
    if group == "stage":
        return ConfigError(f"'stage' is chosen with the name that the stage is to have: {add_a_stage('main')}")
    preset, _, place = group.partition("@")
    if preset == "stage" and place.startswith("stages."):
        return ConfigError(f"there is no stage {place[7:]!r}; {add_a_stage(place[7:])}")
    if place:
        return ConfigError(f"nothing is chosen at {place} yet; add it with +{group}=<name>")
    allowed = present_hint(group) or f"; {_taken(list(keys))}"
    return ConfigError(f"{group!r} cannot be chosen here{allowed}")


def _missing_option(error: MissingConfigException, registry: Registry) -> UserError:
    missing = str(error.missing_cfg_file)
    group, _, name = missing.rpartition("/") if missing.startswith("hydra/") else missing.partition("/")
    if group in kinds() and name and ("/" in name or LIKE_A_FILE.search(name) or Path(name).exists()):
        return UnknownName(_is_a_source(group, name, registry))
    options = {*(error.options or []), *preset_files(group, registry)}
    here = [item for item in kinds().values() if item.group == group]
    if here:
        options |= set(registry.names(here[0].name))
        group = here[0].name
    shown = sorted(item for item in options if not is_private(item))
    return UnknownName(registry.unknown(group or "config", name, shown))


def _is_a_source(kind: str, source: str, registry: Registry) -> str:
    """Explain that a hub id, a file or a folder was given where a name is expected."""
    able = _with_key(kind, "source", registry)
    hint = f"; weights are named by source, like {kind}={able[0]} {kind}.source={source}" if able else ""
    if not able and (able := _with_key(kind, "path", registry)):
        hint = f"; a file is named by path, like {kind}={able[0]} {kind}.path={source}"
    elif not able and (able := _on_own_data(kind, registry)):
        hint = f"; a file of yours is its data set's, like {kind}={able[0]} {kind}.dataset.path={source}"
    return f"no {kind} named {source!r}; there are {', '.join(registry.names(kind))}{hint}"


def _with_key(kind: str, key: str, registry: Registry) -> list[str]:
    return [row.component.name for row in registry.rows(kind) if key in row.schema.__dataclass_fields__]


def _on_own_data(kind: str, registry: Registry) -> list[str]:
    """Return the presets of a kind whose data set is a component that reads a file."""
    files = preset_files(kind, registry) if any("dataset" in row.inner_kinds for row in registry.rows(kind)) else {}
    readers = _with_key("dataset", "path", registry)
    defaults = {name: read_yaml(file, resolve=False).get("defaults", []) for name, file in files.items()}
    chosen = {name: [item for item in items if isinstance(item, dict)] for name, items in defaults.items()}
    return [name for name, items in chosen.items() if any(item.get("/dataset@dataset") in readers for item in items)]
