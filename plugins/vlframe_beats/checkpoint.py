"""Load a published BEATs checkpoint into our model; the names are the same."""

import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vlframe import ConfigError, WeightsError, load_strict, read_pickle, read_tensors
from vlframe_beats import BUILT, BeatsParams

# Parameters that are not in a checkpoint's configuration, or that only change training.
FREE = {
    "source", "seconds", "pad", "dropout_input", "dropout", "attention_dropout", "activation_dropout",
    "encoder_layerdrop", "layer_wise_gradient_decay_ratio",
}  # fmt: skip
PREDICTOR = "predictor."  # the classifier of sounds
SHARED = re.compile(r"encoder\.layers\.[1-9]\d*\.self_attn\.(relative_attention_bias\.weight)")
FIRST = r"encoder.layers.0.self_attn.\1"


def load(model: nn.Module, config: BeatsParams, source: Path) -> None:
    """Fill ``model``. ConfigError if the checkpoint's configuration differs; WeightsError if its weights do not fit."""
    weights, theirs = _read(source)
    ours = {name: value for name, value in asdict(config).items() if name not in FREE}
    wrong = [name for name in ours if name in theirs and theirs[name] != ours[name]]
    if wrong:
        told = "; ".join(f"{name} is {ours[name]!r}, there {theirs[name]!r}" for name in wrong)
        able = "set them alike" if not BUILT.keys() & set(wrong) else f"only {BUILT} is built here"
        raise ConfigError(f"beats disagrees with the configuration in {source}: {told}; {able}")
    load_strict(model, own_weights(weights, str(source)), str(source))


def own_weights(weights: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """Drop the classifier, and keep only one copy of the position bias, which is listed under every block."""
    own = {key: value for key, value in weights.items() if not key.startswith(PREDICTOR) and not SHARED.fullmatch(key)}
    for key in filter(SHARED.fullmatch, weights):
        first = SHARED.sub(FIRST, key)
        if first not in own or not torch.equal(own[first], weights[key]):
            raise WeightsError(f"{source}: {key} is not {first}; the blocks of BEATs share one position bias")
    return own


def _read(source: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the weights and, if the file has it, the configuration."""
    if not source.is_file():
        raise WeightsError(f"beats: source is {source}, and there is no such file; give a .pt or .safetensors, or null")
    if source.suffix == ".safetensors":
        return read_tensors(source), {}
    content = read_pickle(source)
    if not isinstance(content, dict) or not {"cfg", "model"} <= content.keys():
        raise WeightsError(f"{source} is no BEATs checkpoint: it should hold 'cfg' and 'model'")
    return content["model"], dict(content["cfg"])
