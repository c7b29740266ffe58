"""Hydra's errors in our words."""

import re
from collections.abc import Iterable

from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException
from yaml import YAMLError

from vlframe.errors import ConfigError, UnknownName, UserError, did_you_mean
from vlframe.folders import conf_folder
from vlframe.hooks import KINDS
from vlframe.registry import Registry


def explain(error: Exception, registry: Registry, keys: Iterable[str] = ()) -> UserError:
    """One clear message: which key or name, what is wrong with it, what is allowed. ``keys`` are the command's."""
    if isinstance(error, YAMLError):
        return ConfigError(f"a config cannot be read: {' '.join(str(error).split())}")
    if found := re.match(r"Could not override '([^']+)'. No match", str(error)):
        return ConfigError(f"{found[1]!r} cannot be chosen here; this command takes {', '.join(keys)}")
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
    if not options and group and (conf_folder() / group).is_dir():
        options = sorted(file.stem for file in (conf_folder() / group).glob("*.yaml"))
    if group in KINDS and not options:
        options = registry.names(group)
    return UnknownName(registry.unknown(group or "config", name, options))


def _key_problem(error: OmegaConfBaseException) -> str:
    parent = error.parent_node
    if isinstance(error, ConfigKeyError | ConfigAttributeError) and isinstance(parent, DictConfig):
        keys = sorted(str(key) for key in parent if key != "hydra")
        where = error.full_key.rpartition(".")[0] or "the config"
        return f"there is no key {error.full_key!r}; {where} has {', '.join(keys)}{did_you_mean(str(error.key), keys)}"
    reason = str(error.msg or error).splitlines()[0]
    return f"{error.full_key}: {reason}"
