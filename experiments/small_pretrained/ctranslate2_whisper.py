"""Convert the encoder of a Whisper model from CTranslate2's format to transformers' names.

The file: version, name of the specification, its revision, then for each variable its name, shape, type, size and
bytes; little-endian, names with their length before and a zero byte after them (CTranslate2, model_spec.py, version 6).
"""

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import WhisperConfig

VERSION = 6
TYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}

# CTranslate2's names -> transformers'. One linear layer of attention holds query, key and value; keys have no bias.
NAMES = {
    r"encoder/(conv[12])/(weight|bias)": r"\1.\2",
    r"encoder/position_encodings/encodings": r"embed_positions.weight",
    r"encoder/layer_norm/(gamma|beta)": r"layer_norm.\1",
    r"encoder/layer_(\d+)/self_attention/layer_norm/(gamma|beta)": r"layers.\1.self_attn_layer_norm.\2",
    r"encoder/layer_(\d+)/self_attention/linear_0/(weight|bias)": r"layers.\1.self_attn.{q,k,v}_proj.\2",
    r"encoder/layer_(\d+)/self_attention/linear_1/(weight|bias)": r"layers.\1.self_attn.out_proj.\2",
    r"encoder/layer_(\d+)/ffn/layer_norm/(gamma|beta)": r"layers.\1.final_layer_norm.\2",
    r"encoder/layer_(\d+)/ffn/linear_0/(weight|bias)": r"layers.\1.fc1.\2",
    r"encoder/layer_(\d+)/ffn/linear_1/(weight|bias)": r"layers.\1.fc2.\2",
}
NORM = {"gamma": "weight", "beta": "bias"}
NOT_WANTED = re.compile(
    r"decoder/.*|encoder/(num_heads|activation|alibi\w*|multi_query_attention|pre_norm|\w*scale\w*)"
)


def convert_encoder(source: Path, target: Path) -> None:
    """Write the encoder of the model.bin ``source`` to the folder ``target``, for ``audio_encoder=whisper``."""
    tensors = {}
    for name, tensor in read(source):
        tensors |= renamed(name, tensor)
    steps, dim = tensors["embed_positions.weight"].shape
    config = WhisperConfig(
        architectures=["WhisperModel"],
        d_model=dim,
        encoder_layers=1 + max(int(key.split(".")[1]) for key in tensors if key.startswith("layers.")),
        encoder_attention_heads=dim // 64,  # every Whisper has heads of 64
        encoder_ffn_dim=tensors["layers.0.fc1.weight"].shape[0],
        num_mel_bins=tensors["conv1.weight"].shape[1],
        max_source_positions=steps,
    )
    config.save_pretrained(target)
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})


def renamed(name: str, tensor: Tensor) -> dict[str, Tensor]:
    """Return one of their tensors under our names; {} for the decoder. A name without a rule is an error."""
    for pattern, replacement in NAMES.items():
        match = re.fullmatch(pattern, name)
        if match:
            ours, leaf = match.expand(replacement).rsplit(".", 1)
            return {key: value.clone() for key, value in _parts(f"{ours}.{NORM.get(leaf, leaf)}", tensor.float())}
    if NOT_WANTED.fullmatch(name):
        return {}
    raise SystemExit(f"{name} of shape {tuple(tensor.shape)} has no place in Whisper's encoder")


def _parts(name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    if "{q,k,v}" not in name:
        yield name, tensor
        return
    for letter, part in zip("qkv", tensor.chunk(3), strict=True):
        if letter == "k" and name.endswith(".bias"):
            assert not part.any(), f"{name}: keys are expected to have no bias"
            continue
        yield name.replace("{q,k,v}", letter), part


def read(path: Path) -> Iterator[tuple[str, Tensor]]:
    """Yield every variable of a model file."""
    with open(path, "rb") as file:
        version, name = _number(file, "I"), _text(file)
        if version != VERSION or name != "WhisperSpec":
            raise SystemExit(f"{path} is a {name} of version {version}; a WhisperSpec of version {VERSION} is expected")
        _number(file, "I")  # revision
        for _ in range(_number(file, "I")):
            key = _text(file)
            shape = [_number(file, "I") for _ in range(_number(file, "B"))]
            kind = TYPES[_number(file, "B")]
            yield key, torch.from_numpy(np.frombuffer(file.read(_number(file, "I")), kind).reshape(shape).copy())


def _number(file: BinaryIO, code: str) -> int:
    (value,) = struct.unpack(f"<{code}", file.read(struct.calcsize(code)))
    return value


def _text(file: BinaryIO) -> str:
    return file.read(_number(file, "H")).rstrip(b"\0").decode()
