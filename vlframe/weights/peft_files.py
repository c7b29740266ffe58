"""Reads and writes folders of low-rank adapters in the peft library's format: adapter_config.json and
adapter_model.*.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlframe.errors import WeightsError
from vlframe.model.adapters import ADAPTER
from vlframe.weights.files import read_json, read_tensors
from vlframe.weights.names import NameTable

if TYPE_CHECKING:
    from torch import Tensor

CONFIG = "adapter_config.json"
FILES = ("adapter_model.safetensors", "adapter_model.bin")
WRAPPER = "base_model.model."  # peft's prefix of the model's names
MATRICES = (f".lora_A.{ADAPTER}.weight", f".lora_B.{ADAPTER}.weight")  # their names in a model with adapters


def read_adapter(folder: Path) -> tuple[str, dict[str, Tensor], dict[str, Any]]:
    """Return the file's name, its tensors under the names of a model with the adapter, and the adapter's settings."""
    said = read_json(folder / CONFIG)
    file = next((folder / name for name in FILES if (folder / name).is_file()), None)
    if file is None:
        raise WeightsError(f"{folder} has {CONFIG} and neither of {', '.join(FILES)}")
    tensors = {}
    for name, tensor in read_tensors(file).items():
        if not name.endswith((".lora_A.weight", ".lora_B.weight")):
            raise WeightsError(f"{folder}: the adapter holds {name!r}; only lora_A and lora_B are known")
        tensors[name.removesuffix("weight") + f"{ADAPTER}.weight"] = tensor
    return file.name, tensors, said


def adapter_settings(names: NameTable, found: Iterable[str], said: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the ``lora`` settings of each part with adapters among the tensors ``found`` (under canonical names)."""
    modules: dict[str, set[str]] = {}
    for name in filter(is_matrix, found):
        place = names.ours(name)
        if place is None:
            raise WeightsError(f"the adapter holds {name}, which is of no part of ours")
        modules.setdefault(place.part, set()).add(place.name.rsplit(".", 3)[0])
    shared = {"rank": said["r"], "alpha": float(said["lora_alpha"]), "dropout": float(said.get("lora_dropout", 0.0))}
    return {part: {**shared, "targets": sorted(targets)} for part, targets in modules.items()}


def is_matrix(name: str) -> bool:
    """Return whether a tensor is one of the two matrices of a low-rank adapter."""
    return name.endswith(MATRICES)


def write_adapter(folder: Path, tensors: Mapping[str, Tensor], said: Mapping[str, Any]) -> None:
    """Write the adapter's tensors among ``tensors``; the inverse of ``read_adapter``. WeightsError if there are
    none.
    """
    from safetensors.torch import save_file

    adapter = {
        WRAPPER + name.removesuffix(f"{ADAPTER}.weight") + "weight": tensor.contiguous()
        for name, tensor in tensors.items()
        if is_matrix(name)
    }
    if not adapter:
        raise WeightsError("an adapter is to be written, and no part has one")
    save_file(adapter, folder / FILES[0], metadata={"format": "pt"})
    (folder / CONFIG).write_text(json.dumps(dict(said), indent=2) + "\n", encoding="utf-8")
