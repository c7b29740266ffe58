"""How a benchmark's questions are put to a model: keys that every benchmark has besides its own parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from vlframe.config.fields import key
from vlframe.errors import ConfigError

if TYPE_CHECKING:
    from vlframe.config.schema import RunConfig

GENERATE = "generate"
CHOICES = (GENERATE, "likelihood", "likelihood_per_token", "likelihood_per_character")
NAME = re.compile(r"[A-Za-z][\w-]*")


@dataclass(frozen=True)
class AskingConfig:
    """The keys that every benchmark has."""

    frames: int | None = key(None, "the most frames of a clip in this benchmark; null = media.frames", at_least=1)
    system: str | None = key(None, "the system turn of every question; null = as the data has it; empty = none")
    pre_prompt: str = key("", "text before every question, after the media that it begins with")
    post_prompt: str = key("", "text after every question")
    choice: str = key(
        GENERATE,
        "generate: the model writes its answer; likelihood: the option that it finds most likely is its answer, by the "
        "sum over its tokens, their mean (per_token), or the sum over its characters (per_character)",
        choices=CHOICES,
    )


# vlframe's own keys for all components of a kind; they are not passed to the component's class.
OF_EVERY: dict[str, type] = {"benchmark": AskingConfig}


def keys_of_every(kind: str) -> tuple[str, ...]:
    """Return the names of the keys that all components of a kind have."""
    return tuple(item.name for item in fields(OF_EVERY[kind])) if kind in OF_EVERY else ()


def asking_of(config: Mapping[str, Any]) -> AskingConfig:
    """Return the asking keys of a benchmark's (checked) config."""
    return AskingConfig(**{item.name: config[item.name] for item in fields(AskingConfig)})


def benchmarks_of(config: RunConfig) -> dict[str, Mapping[str, Any]]:
    """Return the benchmarks of a run by name: its ``benchmark`` under the component's name, then its ``benchmarks``.
    ConfigError: a name used twice, or one that cannot be part of a key.
    """
    others = {name: chosen for name, chosen in config.benchmarks.items() if chosen is not None}
    if wrong := [name for name in others if not NAME.fullmatch(name)]:
        raise ConfigError(
            f"benchmarks.{wrong[0]} is no name for a benchmark; it has letters, digits, _ and -, and begins with a "
            f"letter"
        )
    if config.benchmark is None:
        return others
    main = str(main_benchmark(config))
    if main in others:
        raise ConfigError(
            f"benchmark and benchmarks.{main} would have one name; give the second another, like benchmarks.{main}_2"
        )
    return {main: config.benchmark, **others}


def main_benchmark(config: RunConfig) -> str | None:
    """Return the name of the run's ``benchmark``, whose scores have no prefix; None if it has none."""
    return None if config.benchmark is None else str(config.benchmark["name"])
