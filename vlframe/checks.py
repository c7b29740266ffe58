"""What the types of a config cannot say: its choices, its numbers, its unknown and its missing keys."""

from __future__ import annotations

import math
import re
from typing import Any

from omegaconf import DictConfig, OmegaConf

from vlframe.config import ABOVE_ZERO, CHOICES, LEAST, MOST, PARTS, REQUIRED, STAGE_LEAST, TRAINED, VALUES_OF_LISTS
from vlframe.errors import ConfigError


def check_values(config: DictConfig, schema: type, *, saved: bool = False) -> None:
    """ConfigError for a value that is of its type and impossible all the same. ``schema`` is the command's.

    A ``saved`` config may have a stage of no steps: what ``vlframe convert`` writes was not trained here.
    """
    OmegaConf.merge(OmegaConf.structured(schema), OmegaConf.to_container(config))  # refuses keys that +key=value added
    for key, allowed in CHOICES.items():
        _check_choice(key, _value(config, key), allowed)
    for key, allowed in VALUES_OF_LISTS.items():
        given = _value(config, key) or []
        for item in [given] if isinstance(given, str) else given:
            _check_choice(key, item, allowed)
    for key in {*LEAST, *MOST, *ABOVE_ZERO}:
        _check_number(key, _value(config, key), key)
    _check_name(config.get("name"))
    for name, stage in (config.get("stages") or {}).items():
        if not (saved and stage.steps == 0):
            _check_stage(f"stages.{name}", stage)


def check_given(config: DictConfig) -> None:
    """ConfigError where a command is to run without a key that it cannot do without."""
    missing = [str(key) for key in config if OmegaConf.is_missing(config, key)]
    if missing:
        like = " ".join(f"{key}={REQUIRED.get(key, '…')}" for key in missing)
        raise ConfigError(f"this command needs {' and '.join(missing)}; give it like {like}")


def _value(config: DictConfig, key: str) -> Any:
    """None where there is no such key: `media` of predict is not settings, but files."""
    group, _, name = key.partition(".")
    settings = config.get(group)
    return settings.get(name) if isinstance(settings, DictConfig) else settings if not name else None


def _check_choice(key: str, value: Any, allowed: tuple[str, ...]) -> None:
    if value is not None and value not in allowed:
        raise ConfigError(f"{key} is {value!r}; it can be {', '.join(allowed)}")


def _check_number(key: str, value: Any, rule: str) -> None:
    """``rule`` is the key that the tables of bounds know."""
    if not isinstance(value, int | float):
        return
    least, most = LEAST.get(rule, STAGE_LEAST.get(rule, -math.inf)), MOST.get(rule, math.inf)
    if rule in ABOVE_ZERO and not 0 < value < math.inf:
        raise ConfigError(f"{key} is {value:g}; it must be above 0")
    if not least <= value <= most:
        bounds = f"at least {least:g}" if most == math.inf else f"between {least:g} and {most:g}"
        raise ConfigError(f"{key} is {value:g}; it must be {bounds}")


def _check_stage(where: str, stage: DictConfig) -> None:
    if (stage.steps is None) == (stage.epochs is None):
        raise ConfigError(f"{where} needs steps or epochs, and not both")
    for key in ("epochs", *STAGE_LEAST):
        _check_number(f"{where}.{key}", stage.get(key), "stage.epochs" if key == "epochs" else key)
    if len(stage.betas) != 2 or not all(0 <= beta < 1 for beta in stage.betas):
        raise ConfigError(
            f"{where}.betas is {list(stage.betas)}; it is two numbers from 0 to below 1, like [0.9,0.999]"
        )
    for part in PARTS:
        settings = stage[part]
        _check_choice(f"{where}.{part}.train", settings.train, TRAINED)
        for key in ("lr", "weight_decay"):
            _check_number(f"{where}.{part}.{key}", settings[key], key)
        for key in ("rank", "alpha", "dropout"):
            _check_number(f"{where}.{part}.lora.{key}", settings.lora[key], f"lora.{key}")


def _check_name(name: Any) -> None:
    """The folder under `runs`: it may have folders in it, and leads nowhere else."""
    if name is not None and (not name or re.search(r"(^|/)\.\.?(/|$)|^/", name)):
        raise ConfigError(f"name is {name!r}; it names a folder under runs, like mine or mine/first")
