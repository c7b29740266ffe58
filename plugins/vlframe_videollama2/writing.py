"""Our parts into an official folder."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import split_torch_state_dict_into_shards
from safetensors.torch import save_file
from torch import Tensor

from vlframe import Ours, WeightsError
from vlframe_videollama2 import config as configs
from vlframe_videollama2 import names
from vlframe_videollama2.files import LORA_REST

SHARD = "5GB"
WRAP = "base_model.model."  # what peft writes before the names of an adapter
ADAPTED = (".lora_A.default.weight", ".lora_B.default.weight")


def write(folder: Path, ours: Ours) -> None:
    """In the form the weights came in, where they came from an official folder; else ``full``.

    Adapters that were trained here are for the caller to merge, unless the form is ``lora``.
    """
    record = ours.record
    form = record.get("form", "full")
    state = {
        names.official(part, name): tensor
        for part, tensors in ours.tensors.items()
        for name, tensor in (names.split_experts(tensors) if part == "llm" else tensors).items()
        if not name.endswith(ADAPTED)
    }
    folder.mkdir(parents=True, exist_ok=True)
    config = record.get("config") or configs.official_config(ours.config, ours.language_model)
    beside = dict(record.get("files") or {})
    if form == "lora":
        _write_adapter(folder, ours)
    elif not record and ours.config["audio_encoder"] is not None:
        beside = {"audio_tower.bin": [name for name in state if name.startswith("model.audio_tower.")]}
        record = {**record, "beats": _beats_config(ours)}
    _write_beside(folder, state, beside, record.get("beats"))
    apart = set(record.get("apart", ()))
    rest = {name: tensor for name, tensor in state.items() if name not in apart}
    if form == "full":
        _write_whole(folder, rest)
    elif form == "lora":
        torch.save({WRAP + name: tensor for name, tensor in rest.items()}, folder / LORA_REST)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    if ours.tokenizer is not None:
        for file in sorted(ours.tokenizer.iterdir()):
            shutil.copyfile(file, folder / file.name)
    if not record.get("config") and not ours.config["encoder"]["source"]:
        _write_tower_config(folder, ours)


def _write_whole(folder: Path, state: dict[str, Tensor]) -> None:
    plan = split_torch_state_dict_into_shards(state, max_shard_size=SHARD, filename_pattern="model{suffix}.safetensors")
    for file, held in plan.filename_to_tensors.items():
        shard = {name: state[name].clone().contiguous() for name in held}  # safetensors refuses shared memory
        save_file(shard, folder / file, metadata={"format": "pt"})
    shared = [name for name in state if not any(name in held for held in plan.filename_to_tensors.values())]
    if shared:
        raise WeightsError(f"{len(shared)} tensors found no place in a shard: {', '.join(shared[:8])}")
    if plan.is_sharded:
        index = {"metadata": plan.metadata, "weight_map": plan.tensor_to_filename}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


def _write_beside(
    folder: Path, state: dict[str, Tensor], beside: dict[str, list[str]], beats: dict[str, Any] | None
) -> None:
    """Files of single parts."""
    for file, held in beside.items():
        found = {name: state[name] for name in held if name in state}
        if file == "audio_tower.bin" and beats is not None:
            model = {name.removeprefix("model.audio_tower."): tensor.clone() for name, tensor in found.items()}
            torch.save({"cfg": beats, "model": model}, folder / file)
        else:
            torch.save({name: tensor.clone() for name, tensor in found.items()}, folder / file)


def _write_adapter(folder: Path, ours: Ours) -> None:
    adapter = {}
    for part, tensors in ours.tensors.items():
        for name, tensor in tensors.items():
            if name.endswith(ADAPTED):
                official = names.official(part, name).replace(".default.weight", ".weight")
                adapter[WRAP + official] = tensor.contiguous()
    if not adapter:
        raise WeightsError("the form is lora, and no part has a low-rank adapter")
    save_file(adapter, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    said = ours.record["adapter_config"]
    (folder / "adapter_config.json").write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")


def _beats_config(ours: Ours) -> dict[str, Any]:
    config = ours.config["audio_encoder"]
    return {name: config[name] for name in configs.BEATS} | {"activation_fn": "gelu", "layer_norm_first": False}


def _write_tower_config(folder: Path, ours: Ours) -> None:
    """The vision tower's own config, where the official code is pointed by ``mm_vision_tower``."""
    kind = next(kind for kind, name in configs.TOWERS.items() if name == ours.config["encoder"]["name"])
    place = folder / "vision_tower"
    place.mkdir(exist_ok=True)
    said = {"model_type": kind, **dict(ours.config["encoder"]["architecture"])}
    (place / "config.json").write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")
