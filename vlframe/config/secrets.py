"""Keeps secrets in the environment: no config, and so no run folder, log or W&B page, may hold one.

A config is refused when a key is named like a secret, when a value has the form of one, or when a value contains that
of an environment variable named like one (``${oc.env:WANDB_API_KEY}`` resolves to it). No message repeats a secret.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
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
LEAST = 8  # characters; shorter values would match by chance
FREE_WORDS = ("prompt", "media")  # of `vlframe predict`: the user's question and files, never written to disk


def refuse_secret_words(arguments: Sequence[str]) -> None:
    """Refuse secrets on a command line before Hydra reads it, since Hydra's errors repeat it."""
    for argument in arguments:
        key, _, value = argument.lstrip("+~").partition("=")
        if key not in FREE_WORDS:
            _refuse(key, value, "on the command line")


def refuse_secret_values(values: Mapping[str, Any]) -> None:
    """Raise ConfigError for a secret among a config's plain values, composed or read from a run folder."""
    for key, value in _leaves(values):
        _refuse(key, value, "in the config")


def redacted(text: str) -> str:
    """Replace the values of the environment's secrets in a text, wherever they came from."""
    for secret in environment_secrets().values():
        text = text.replace(secret, "***")
    return FORMS.sub(lambda found: "://***@" if found[0].startswith("://") else "***", text)


def without_secrets(value: Any, name: str = "") -> Any:
    """Return plain values with every secret as ``***``: texts are redacted, and values of keys that are named like a
    secret are left out. For what was written elsewhere, and is sent on.
    """
    if isinstance(value, Mapping):
        return {key: without_secrets(item, str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_secrets(item, name) for item in value]
    if not isinstance(value, str) or not value:
        return value
    return "***" if any(_names_a_secret(word) for word in re.split(r"[.@/]", name)) else redacted(value)


class RedactingFormatter(logging.Formatter):
    """Formats log lines without secrets."""

    def format(self, record: logging.LogRecord) -> str:
        return redacted(super().format(record))


def environment_secrets() -> dict[str, str]:
    """Return the environment variables whose names mark them as secrets."""
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


def _leaves(values: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    pairs = values.items() if isinstance(values, Mapping) else enumerate(values)
    for key, value in pairs:
        path = f"{prefix}{key}"
        if isinstance(value, Mapping | list | tuple):
            yield from _leaves(value, f"{path}.")
        else:
            yield path, value
