"""What is done to the words of a command line before Hydra reads them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from omegaconf import OmegaConf

from vlframe.errors import ConfigError
from vlframe.folders import conf_folder
from vlframe.hooks import KINDS
from vlframe.runs.folder import RunFolder

FREE_TEXT = ("prompt", "media")  # keys whose values are a person's words and file names, not Hydra's grammar
WHOLE_RUNS = ("model", "experiment", "debug")  # groups that say many keys at once


def is_hydras_own(key: str, value: str) -> bool:
    """A ``[list]`` of files, ``media=null``, and what its writer has put in quotes stay as they are."""
    listed = key == "media" and (value.startswith("[") or value == "null")
    return listed or bool(re.fullmatch(r"(['\"]).*\1", value, re.DOTALL))


def split_absent(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """``audio_encoder=null`` takes a part out. Hydra has no such override for a group, so it is done afterwards."""
    absent = [key for key in KINDS if f"{key}=null" in arguments]
    return [argument for argument in arguments if argument.partition("=")[0] not in absent], absent


def value_of(key: str, arguments: Sequence[str]) -> str | None:
    """The last ``key=value``, without quotes; also of a flag (``--config-dir x``)."""
    found = None
    for number, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name == key and (equals or key.startswith("-")):
            found = value if equals else next(iter(arguments[number + 1 :]), None)
    return found.strip("'\"") if found else found


def config_of_run(folder: str, arguments: Sequence[str]) -> dict[str, Any]:
    """What ``resume=<folder>`` composes from: the run's own values, over which the other words are laid.

    A group that is chosen anew (``logger=wandb``) comes in place of what the run had.
    """
    if {"-m", "--multirun"} & set(arguments):
        raise ConfigError("resume=… goes on with one run, and -m starts several; resume them one by one")
    saved = OmegaConf.to_container(RunFolder.open(folder).read_config())
    assert isinstance(saved, dict)
    keys = [argument.lstrip("+~").partition("=")[0] for argument in arguments if "=" in argument]
    whole = [key for key in keys if key in WHOLE_RUNS]
    if whole:
        raise ConfigError(
            f"{whole[0]}=… beside resume=… would be another run; name keys (trainer.log_every=5), "
            f"or begin a new run with init.run={folder}"
        )
    for key in (*keys, "resume", "resume_changes", "plugins"):
        if key in KINDS or (conf_folder() / key).is_dir() or key in ("resume", "resume_changes", "plugins"):
            saved.pop(key, None)
    train = OmegaConf.to_container(OmegaConf.load(conf_folder() / "train.yaml"))
    assert isinstance(train, dict)
    return {"defaults": _nothing_chosen(train["defaults"]), **saved}


def _nothing_chosen(defaults: list[Any]) -> list[Any]:
    """The schema, then the run's own values, then whatever the command line chooses."""
    groups = [item for item in defaults if isinstance(item, dict) and not next(iter(item)).startswith("override")]
    rest = [item for item in defaults if item not in groups and item not in ("run_schema", "_self_")]
    return ["run_schema", "_self_", *({key: None for key in item} for item in groups), *rest]
