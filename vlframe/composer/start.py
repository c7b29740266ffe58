"""What a config is composed on top of: ``conf/train.yaml`` or another command's, or, with ``resume=<folder>``, a run's
own.
"""

from __future__ import annotations

from typing import Any

from hydra.core.config_store import ConfigStore

from vlframe.composer.command_line import CommandLine
from vlframe.config.typed import plain, read_yaml
from vlframe.contracts.kinds import first_party_kinds, kinds
from vlframe.contracts.modalities import parts
from vlframe.errors import ConfigError
from vlframe.paths import conf_folder
from vlframe.runs.folder import RunFolder

WHOLE_RUNS = ("model", "experiment", "debug")  # groups that set many keys at once
WITH_PLUGINS = "train_with_parts_of_plugins"
NEW_EACH_TIME = ("resume", "resume_changes", "plugins")


def start_of(config_name: str, line: CommandLine) -> str:
    """Return the name of the config to compose: ``config_name``, or one registered here: with the parts of plugins'
    modalities, or with the resumed run's values.
    """
    folder = line.value("resume")
    if config_name == "train" and folder == "":
        raise ConfigError("resume= names no folder; name a run's, like resume=runs/quickstart/<id>, or leave it out")
    if config_name == "train" and folder:
        ConfigStore.instance().store(name="resumed_run", node=_config_of_run(str(folder), line), provider=str(folder))
        return "resumed_run"
    if config_name == "train" and new_parts():
        ConfigStore.instance().store(name=WITH_PLUGINS, node={"defaults": _defaults()}, provider="vlframe")
        return WITH_PLUGINS
    return config_name


def _config_of_run(folder: str, line: CommandLine) -> dict[str, Any]:
    """Return the run's own values, to which the other overrides are applied.

    A group chosen again (``logger=wandb``) replaces what the run had.
    """
    if line.flags.multirun:
        raise ConfigError("resume=… goes on with one run, and -m starts several; resume them one by one")
    saved = plain(read_yaml(RunFolder.open(folder).config))
    keys = [*line.keys, *line.absent]
    whole = [key for key in keys if key in WHOLE_RUNS]
    if whole:
        raise ConfigError(
            f"{whole[0]}=… with resume=… would be another run; name keys (trainer.log_every=5), "
            f"or begin a new run with init.run={folder}"
        )
    groups = {kind.group for kind in kinds().values()}
    for key in (*keys, *NEW_EACH_TIME):
        if key in groups or (conf_folder() / key).is_dir() or key in NEW_EACH_TIME:
            saved.pop(key, None)
    return {"defaults": _nothing_chosen(_defaults()), **saved}


def new_parts() -> list[str]:
    """Return the parts that plugins' modalities add."""
    return [name for name in parts() if name not in first_party_kinds()]


def _defaults() -> list[Any]:
    """Return the defaults list of a run, with the parts of plugins' modalities: none of these is chosen, and, as of the
    others, one can be, by an experiment and on the command line.
    """
    defaults: list[Any] = read_yaml(conf_folder() / "train.yaml")["defaults"]
    place = next(number for number, item in enumerate(defaults) if isinstance(item, dict))
    return [*defaults[:place], *({name: None} for name in new_parts()), *defaults[place:]]


def _nothing_chosen(defaults: list[Any]) -> list[Any]:
    """Return a defaults list with the schema, the run's own values, then the command line's choices."""
    groups = [item for item in defaults if isinstance(item, dict) and not next(iter(item)).startswith("override")]
    rest = [item for item in defaults if item not in groups and item not in ("run_schema", "_self_")]
    return ["run_schema", "_self_", *({key: None for key in item} for item in groups), *rest]
