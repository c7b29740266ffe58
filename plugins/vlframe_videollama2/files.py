"""Files of official checkpoints, read as weights and nothing else: safetensors, or pickles with ``weights_only``."""

import json
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from vlframe import WeightsError

WHOLE = ("model.safetensors.index.json", "model.safetensors", "pytorch_model.bin.index.json", "pytorch_model.bin")
ADAPTER = ("adapter_model.safetensors", "adapter_model.bin")
BESIDE = ("mm_projector.bin", "mm_projector_a.bin", "audio_tower.bin")  # what a stage of the official training leaves
LORA_REST = "non_lora_trainables.bin"


def read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path} should hold a JSON object, not a {type(content).__name__}")
    return content


def read_pickle(path: Path) -> Any:
    """The content of a torch file; only tensors and plain values are let through."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, UnpicklingError) as error:
        raise WeightsError(
            f"{path} cannot be read as weights ({str(error).splitlines()[0]}); a file that holds more than tensors and "
            "plain values could run code, and is refused"
        ) from error


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Name -> tensor of one file."""
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (OSError, SafetensorError) as error:
            raise WeightsError(f"{path} cannot be read: {error}") from error
    content = read_pickle(path)
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise WeightsError(f"{path} should map names to tensors and does not")
    return content


def read_whole(folder: Path) -> dict[str, Tensor] | None:
    """The state of a whole model, from one file or its shards; None where the folder has none."""
    for name in WHOLE:
        path = folder / name
        if not path.is_file():
            continue
        if not name.endswith(".json"):
            return read_tensors(path)
        shards = read_json(path).get("weight_map", {})
        tensors: dict[str, Tensor] = {}
        for shard in sorted(set(shards.values())):
            if Path(shard).name != shard:
                raise WeightsError(f"{path} names the shard {shard!r}, which is not a file beside it")
            tensors |= read_tensors(folder / shard)
        if absent := sorted(set(shards) - set(tensors)):
            raise WeightsError(f"{path} lists {len(absent)} tensors that its shards lack: {', '.join(absent[:8])}")
        return tensors
    return None


def first_file(folder: Path, names: tuple[str, ...]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)


def has_tokenizer(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "vocab.json"))
