"""Secrets stay in the environment: no config, and so no run folder, log or W&B page, may hold one.

A config is refused when a key is named like a secret, when a value has the form of one, and when a value holds that of
an environment variable named like one (``${oc.env:WANDB_API_KEY}`` comes out as such). No message repeats a secret.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any

from vlframe.errors import ConfigError

NAME = re.compile(
    r"(^|_)(api_?keys?|access_?keys?|secret_?keys?|private_?keys?|secrets?|passwords?|passwd|credentials?|auth)(_|$)"
    r"|(^|_)token$"
)
SPECIAL_TOKEN = re.compile(r"(pad|padding|bos|eos|unk|mask|cls|sep|image|video|audio|special)_token$")  # of a tokenizer
FORMS = re.compile(
    r"\b(hf_|sk-|gh[pousr]_|github_pat_|glpat-|xox[abp]-)[A-Za-z0-9_-]{16,}|\bAKIA[0-9A-Z]{16}\b"
    r"|://[^/@\s]+@"  # a user, or a user and a password, in an address
)
ENVIRONMENT = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)$")
LEAST = 8  # characters; a shorter value would be found in anything
FREE_WORDS = ("prompt", "media")  # of `vlframe predict`: a person's question and files, written nowhere


def refuse_secret_words(arguments: Sequence[str]) -> None:
    """Before Hydra reads a command line, whose errors repeat it."""
    for argument in arguments:
        key, _, value = argument.lstrip("+~").partition("=")
        if key not in FREE_WORDS:
            _refuse(key, value, "on the command line")


def refuse_secret_values(config: Any) -> None:
    """Of a composed config, or one read from a run folder."""
    for key, value in _leaves(config):
        _refuse(key, value, "in the config")


def redacted(text: str) -> str:
    """Without the values of the environment's secrets, whoever put them there."""
    for secret in environment_secrets().values():
        text = text.replace(secret, "***")
    return FORMS.sub(lambda found: "://***@" if found[0].startswith("://") else "***", text)


class RedactingFormatter(logging.Formatter):
    """A line of a log as it may be shown."""

    def format(self, record: logging.LogRecord) -> str:
        return redacted(super().format(record))


def environment_secrets() -> dict[str, str]:
    """The variables of this process whose names say that they are secrets."""
    return {name: value for name, value in os.environ.items() if ENVIRONMENT.search(name) and len(value) >= LEAST}


def _refuse(key: str, value: Any, where: str) -> None:
    if not isinstance(value, str) or value in ("", "null", "true", "false", "???"):
        return
    if any(_names_a_secret(name) for name in re.split(r"[.@/]", key)):
        raise ConfigError(f"{key} {where} is named like a secret; leave it out and {_instead(key)}")
    if FORMS.search(value):
        raise ConfigError(f"the value of {key} {where} looks like a secret; leave it out and {_instead(key)}")
    for name in environment_secrets():
        if os.environ[name] in value or re.search(rf"oc\.env:\s*{re.escape(name)}\b", value):
            raise ConfigError(
                f"{key} {where} holds the value of the environment variable {name}, and would be written to the run's "
                f"folder and its loggers; leave it out: libraries read {name} themselves"
            )


def _names_a_secret(name: str) -> bool:
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower().replace("-", "_")
    return bool(NAME.search(words)) and not SPECIAL_TOKEN.search(words)


def _instead(key: str) -> str:
    known = {
        "wandb": "WANDB_API_KEY", "comet": "COMET_API_KEY", "neptune": "NEPTUNE_API_TOKEN", "openai": "OPENAI_API_KEY",
        "anthropic": "ANTHROPIC_API_KEY", "hf": "HF_TOKEN", "hub": "HF_TOKEN",
    }  # fmt: skip
    for word, variable in known.items():
        if word in re.split(r"[._]", key.lower()):
            return f"set {variable} in the environment"
    return "set the environment variable that its library reads (WANDB_API_KEY, HF_TOKEN, …)"


def _leaves(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    from omegaconf import DictConfig, ListConfig
    from omegaconf.errors import OmegaConfBaseException

    keys = list(config) if isinstance(config, DictConfig) else range(len(config))
    for key in keys:
        path = f"{prefix}{key}"
        try:
            value = config[key]
        except OmegaConfBaseException:  # missing, or refers to what is not there: it has no value, and none is written
            continue
        if isinstance(value, DictConfig | ListConfig):
            yield from _leaves(value, f"{path}.")
        else:
            yield path, value
