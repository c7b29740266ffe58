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
FLAGS_WITH_A_WORD = (
    "--cfg", "-c", "--package", "-p", "--info", "-i", "--config-dir", "-cd", "--config-name", "-cn",
    "--config-path", "-cp",
)  # fmt: skip
FLAGS = (
    "--help", "-h", "--multirun", "-m", "--run", "-r", "--resolve", "--hydra-help", "--version",
    "--shell-completion", "-sc",
    *FLAGS_WITH_A_WORD,
)  # fmt: skip
WHOLE_RUNS = ("model", "experiment", "debug")  # groups that say many keys at once


def is_hydras_own(key: str, value: str) -> bool:
    """A ``[list]`` of files, ``media=null``, and what its writer has put in quotes stay as they are."""
    listed = key == "media" and (value.startswith("[") or value == "null")
    return listed or bool(re.fullmatch(r"(['\"]).*\1", value, re.DOTALL))


def split_absent(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """``audio_encoder=null`` takes a part out. Hydra has no such override for a group, so it is done afterwards."""
    absent = [key for key in KINDS if f"{key}=null" in arguments]
    return [argument for argument in arguments if argument.partition("=")[0] not in absent], absent


def refuse_loose_words(arguments: Sequence[str]) -> None:
    """ConfigError for a word that is neither ``key=value`` nor a flag. Hydra would take the beginning of a flag for it,
    or speak of its grammar."""
    before = ""
    for word in arguments:
        if word.startswith("-"):
            flag = word.partition("=")[0]
            if flag not in FLAGS:
                key = flag.lstrip("-")
                raise ConfigError(
                    f"there is no option {flag!r}; keys are given without dashes ({key}=…), and the options are "
                    f"--help, --cfg job, --config-dir, -m and --traceback"
                )
        elif "=" not in word and not word.startswith("~") and before not in FLAGS_WITH_A_WORD:
            raise ConfigError(
                f"{word!r} is not key=value; write like connector=stc, and quote what has spaces for the shell, like "
                f'prompt="What happens?"'
            )
        before = word


def changes_of_a_run(config_name: str, arguments: Sequence[str]) -> list[str]:
    """``vlframe evaluate`` changes keys of a run that Hydra has not read: it takes them as they come (``++``), and they
    are checked beside the run's own."""
    if config_name != "evaluate":
        return list(arguments)
    places = ["media.", "trainer."]
    if not any(word.startswith("benchmark=") for word in arguments):
        places.append("benchmark.")
    return [f"++{word}" if word.startswith(tuple(places)) else word for word in arguments]


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
