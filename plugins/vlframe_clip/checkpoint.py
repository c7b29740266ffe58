"""The config and the weights of an image tower, checked against what the user spelled out."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import nn
from transformers.utils import logging

from vlframe import ConfigError, WeightsError, planning

# What the shapes hang on: a field that is not spelled out has the config class's default, and must agree too.
SIZES = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "image_size", "patch_size")


def tower_config(kind: Any, architecture: dict[str, Any], source: str | None) -> Any:
    """Planning uses ``architecture`` alone; otherwise the config is that of ``source``, which must agree with it."""
    known = {field.name for field in dataclasses.fields(kind)}
    strange = sorted(set(architecture) - known)
    if strange:
        raise ConfigError(f"architecture has {', '.join(strange)}, which {kind.__name__} does not know")
    if not architecture:
        if source is None or not Path(source).is_dir():
            raise ConfigError(
                f"architecture is empty and source is {source!r}: spell out the {kind.__name__} fields "
                f"({', '.join(SIZES)}), take a preset that does, or give a local folder with a config.json"
            )
        return _read(kind, source)
    planned = kind(**architecture)
    if source is None or planning():
        return planned
    found = _read(kind, source)
    names = sorted({*SIZES, *architecture})
    wrong = [name for name in names if getattr(found, name) != getattr(planned, name)]
    if wrong:
        told = "; ".join(f"{name} is {getattr(planned, name)!r}, there {getattr(found, name)!r}" for name in wrong)
        raise ConfigError(f"architecture disagrees with the config of {source}: {told}")
    return found


def pretrained(model_class: Any, source: str, config: Any, needless: tuple[str, ...]) -> nn.Module:
    """The tower of a vision-only or image-and-text checkpoint. ``needless``: prefixes of parts that are left behind.

    A missing or misshapen weight is an error; weights of the text tower and of the blocks cut off are not asked for.
    """
    try:
        with _quiet():
            tower, info = model_class.from_pretrained(
                source, config=config, output_loading_info=True, dtype=torch.get_default_dtype(), weights_only=True
            )
    except (OSError, RuntimeError, UnpicklingError) as error:  # absent or broken files, other shapes, pickled code
        raise WeightsError(f"{model_class.__name__} cannot be read from {source}: {error}") from error
    missing = sorted(key for key in info["missing_keys"] if not key.startswith(needless))
    if missing:
        raise WeightsError(f"{source} lacks {len(missing)} weights of {model_class.__name__}: {', '.join(missing[:8])}")
    return tower


def _read(kind: Any, source: str) -> Any:
    try:
        return kind.from_pretrained(source)
    except OSError as error:
        raise WeightsError(f"no config of {kind.__name__} can be read from {source}: {error}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """No report of unexpected keys and no progress bar: the parts left behind are meant to be."""
    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
