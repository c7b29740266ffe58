"""A published BEATs checkpoint into our model; the names are the same."""

import re
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from vlframe import ConfigError, WeightsError, load_strict
from vlframe_beats import BeatsParams

# Fields that change what is computed without changing a shape, or that explain a shape better than a shape would.
ARCHITECTURE = (
    "input_patch_size",
    "embed_dim",
    "conv_bias",
    "encoder_layers",
    "encoder_embed_dim",
    "encoder_ffn_embed_dim",
    "encoder_attention_heads",
    "conv_pos",
    "conv_pos_groups",
    "relative_position_embedding",
    "num_buckets",
    "max_distance",
    "gru_rel_pos",
    "deep_norm",
)
FIXED = {"activation_fn": "gelu", "layer_norm_first": False}  # true of every published checkpoint
PREDICTOR = "predictor."  # the classifier of sounds
SHARED = re.compile(r"encoder\.layers\.[1-9]\d*\.self_attn\.(relative_attention_bias\.weight)")
FIRST = r"encoder.layers.0.self_attn.\1"


def load(model: nn.Module, config: BeatsParams, source: Path) -> None:
    """Fill ``model``. ConfigError: the checkpoint's configuration is not ours; WeightsError: its weights do not fit."""
    weights, theirs = _read(source)
    ours = {name: getattr(config, name) for name in ARCHITECTURE} | FIXED
    wrong = [name for name in ours if name in theirs and theirs[name] != ours[name]]
    if wrong:
        told = "; ".join(f"{name} is {ours[name]!r}, there {theirs[name]!r}" for name in wrong)
        able = "set them alike" if not FIXED.keys() & set(wrong) else f"only {FIXED} is built here"
        raise ConfigError(f"beats disagrees with the configuration in {source}: {told}; {able}")
    load_strict(model, own_weights(weights, str(source)), str(source))


def own_weights(weights: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """Without the classifier, and with the position bias, listed under every block, once."""
    own = {key: value for key, value in weights.items() if not key.startswith(PREDICTOR) and not SHARED.fullmatch(key)}
    for key in filter(SHARED.fullmatch, weights):
        first = SHARED.sub(FIRST, key)
        if first not in own or not torch.equal(own[first], weights[key]):
            raise WeightsError(f"{source}: {key} is not {first}; the blocks of BEATs share one position bias")
    return own


def _read(source: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights and, where the file has it, configuration."""
    if not source.is_file():
        raise WeightsError(f"beats: source is {source}, and there is no such file; give a .pt or .safetensors, or null")
    if source.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(source), {}
    try:
        content = torch.load(source, map_location="cpu", weights_only=True)
    except (RuntimeError, UnpicklingError) as error:  # broken, or more than weights and plain values
        raise WeightsError(f"{source} cannot be read as weights: {error}") from error
    if not isinstance(content, dict) or not {"cfg", "model"} <= content.keys():
        raise WeightsError(f"{source} is no BEATs checkpoint: it should hold 'cfg' and 'model'")
    return content["model"], dict(content["cfg"])
