"""The config and the weights of Whisper's encoder, checked against what the user spelled out."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder
from transformers.utils import logging

from vlframe import ConfigError, WeightsError, planning

# What the shapes hang on: a field that is not spelled out has WhisperConfig's default, and must agree too.
SIZES = (
    "d_model",
    "encoder_layers",
    "encoder_attention_heads",
    "encoder_ffn_dim",
    "num_mel_bins",
    "max_source_positions",
)


def whisper_config(architecture: dict[str, Any], source: str | None) -> WhisperConfig:
    """Planning uses ``architecture`` alone; otherwise the config is that of ``source``, which must agree with it."""
    known = {field.name for field in dataclasses.fields(WhisperConfig)}
    strange = sorted(set(architecture) - known)
    if strange:
        raise ConfigError(f"architecture has {', '.join(strange)}, which WhisperConfig does not know")
    if not architecture:
        if source is None or not Path(source).is_dir():
            raise ConfigError(
                f"architecture is empty and source is {source!r}: spell out the WhisperConfig fields "
                f"({', '.join(SIZES)}), take a preset that does, or give a local folder with a config.json"
            )
        return _read(source)
    planned = WhisperConfig(**architecture)
    if source is None or planning():
        return planned
    found = _read(source)
    names = sorted({*SIZES, *architecture})
    wrong = [name for name in names if getattr(found, name) != getattr(planned, name)]
    if wrong:
        told = "; ".join(f"{name} is {getattr(planned, name)!r}, there {getattr(found, name)!r}" for name in wrong)
        raise ConfigError(f"architecture disagrees with the config of {source}: {told}")
    return found


def pretrained(source: str, config: WhisperConfig) -> WhisperEncoder:
    """The encoder of a checkpoint of the whole model, of the model without its head, or of the encoder alone.

    A missing or misshapen weight is an error; weights of the decoder are not asked for.
    """
    try:
        with _quiet():
            encoder, info = WhisperEncoder.from_pretrained(
                source,
                config=config,
                output_loading_info=True,
                dtype=torch.get_default_dtype(),
                weights_only=True,
                key_mapping={r"^(model\.)?encoder\.": ""},
            )
    except (OSError, RuntimeError, UnpicklingError) as error:  # absent or broken files, other shapes, pickled code
        raise WeightsError(f"Whisper's encoder cannot be read from {source}: {error}") from error
    missing = sorted(info["missing_keys"])
    if missing:
        raise WeightsError(f"{source} lacks {len(missing)} weights of Whisper's encoder: {', '.join(missing[:8])}")
    return encoder


def _read(source: str) -> WhisperConfig:
    try:
        return WhisperConfig.from_pretrained(source)
    except OSError as error:
        raise WeightsError(f"no WhisperConfig can be read from {source}: {error}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """No report of unexpected keys and no progress bar: the decoder is meant to be left behind."""
    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
