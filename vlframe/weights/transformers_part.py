"""Builds a part with transformers: its config and weights, checked against the spelled-out architecture."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import nn
from transformers.utils import logging
from transformers.utils.hub import is_offline_mode

from vlframe.contracts.meta import is_meta
from vlframe.errors import ConfigError, NoArchitecture, WeightsError, one_line
from vlframe.registry.sources import is_path


def blocks_before(layer: int, blocks: int) -> int:
    """Return how many of a tower's ``blocks`` come before hidden state ``layer``; there is one more hidden state than
    blocks, and negative numbers count from the last. ConfigError for a hidden state that does not exist."""
    depth = layer if layer >= 0 else blocks + 1 + layer
    if not 0 <= depth <= blocks:
        raise ConfigError(f"layer is {layer}, but {blocks} blocks have hidden states {-blocks - 1} to {blocks}")
    return depth


def part_config(kind: Any, architecture: Mapping[str, Any], source: str | None, sizes: Sequence[str]) -> Any:
    """Return the config of transformers' class ``kind``.

    Planning uses only ``architecture``; otherwise the config is that of ``source``, which must agree with it. ``sizes``
    are the fields that determine shapes: one that is not spelled out has the default of ``kind``, and must agree too.
    ConfigError if something does not, WeightsError if there is no config to read.
    """
    known = {field.name for field in dataclasses.fields(kind)}
    strange = sorted(set(architecture) - known)
    if strange:
        raise ConfigError(f"architecture has {', '.join(strange)}, which {kind.__name__} does not know")
    if not architecture:
        if source is not None and not Path(source).is_dir() and source.startswith(("/", "./", "../", "~")):
            raise ConfigError(f"source is {source!r}, a path, and there is no such folder")
        if source is None or not Path(source).is_dir():
            raise NoArchitecture(
                f"architecture is empty and source is {source!r}: spell out the {kind.__name__} fields "
                f"({', '.join(sizes)}), take a preset that does, or give a local folder with a config.json"
            )
        return _read(kind, source)
    planned = kind(**architecture)
    if source is None or is_meta():
        return planned
    found = _read(kind, source)
    names = sorted({*sizes, *architecture})
    wrong = [name for name in names if getattr(found, name) != getattr(planned, name)]
    if wrong:
        told = "; ".join(f"{name} is {getattr(planned, name)!r}, there {getattr(found, name)!r}" for name in wrong)
        raise ConfigError(f"architecture disagrees with the config of {source}: {told}")
    return found


def pretrained_part(
    model_class: Any,
    source: str,
    config: Any,
    *,
    needless: tuple[str, ...] = (),
    rename: Mapping[str, str] | None = None,
    **options: Any,
) -> nn.Module:
    """Return the part with weights from a checkpoint of itself or of a larger model.

    ``needless`` are prefixes of weights that may be absent; ``rename`` maps patterns of a checkpoint's names to those
    of ``model_class``; ``options`` are its further arguments, like ``add_pooling_layer=False``. A missing or misshapen
    weight is a WeightsError; weights of modules that are not built are ignored.
    """
    try:
        with _quiet():
            part, info = model_class.from_pretrained(
                source,
                config=config,
                output_loading_info=True,
                dtype=torch.get_default_dtype(),
                weights_only=True,
                key_mapping=rename,
                **options,
            )
    except (OSError, RuntimeError, UnpicklingError) as error:  # absent or broken files, other shapes, pickled code
        raise WeightsError(f"{model_class.__name__} cannot be read from {source}: {_why(source, error)}") from error
    missing = sorted(key for key in info["missing_keys"] if not key.startswith(needless))
    if missing:
        raise WeightsError(f"{source} lacks {len(missing)} weights of {model_class.__name__}: {', '.join(missing[:8])}")
    return part


def _read(kind: Any, source: str) -> Any:
    try:
        return kind.from_pretrained(source)
    except OSError as error:
        raise WeightsError(f"no config of {kind.__name__} can be read from {source}: {_why(source, error)}") from error


def _why(source: str, error: Exception) -> str:
    """Return the library's reason in one line; of a hub id that may not be fetched, what its own words do not say."""
    if is_path(source) and not Path(source).exists():
        return "it is a path, and there is no such folder"
    if is_offline_mode() and not Path(source).exists():
        return (
            "it is not in the hub's cache, and HF_HUB_OFFLINE=1 forbids fetching it; fetch it once with "
            f"`hf download {source}`, set HF_HUB_OFFLINE=0, or name a folder that has it (source=<folder>)"
        )
    return one_line(error)


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the report of unexpected keys, which are ignored on purpose, and the progress bar."""
    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
