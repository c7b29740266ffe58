"""Write our weights as an official folder."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vlframe import ExportRequest, is_matrix, write_adapter, write_tensors
from vlframe_videollama2 import config as configs
from vlframe_videollama2.reading import LORA_REST

WRAP = "base_model.model."  # peft's prefix for the names of tensors trained beside an adapter


def write(folder: Path, request: ExportRequest) -> None:
    """Write the form that the weights came in, if they came from an official folder; else ``full``."""
    record = request.record
    form, apart = record.get("form", "full"), set(record.get("apart", ()))
    config = record.get("config") or configs.official_config(request.config, request.hf_config)
    state = {name: tensor for name, tensor in request.tensors.items() if not is_matrix(name)}
    rest = {name: tensor for name, tensor in state.items() if name not in apart}
    folder.mkdir(parents=True, exist_ok=True)
    _write_beside(folder, state, request)
    if form == "full":
        write_tensors(folder, rest)
    elif form == "lora":
        write_adapter(folder, request.tensors, record["adapter_config"])
        torch.save({WRAP + name: tensor for name, tensor in rest.items()}, folder / LORA_REST)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    if request.tokenizer is not None:
        for file in sorted(request.tokenizer.iterdir()):
            shutil.copyfile(file, folder / file.name)
    encoder = request.config["encoder"]
    if not record.get("config") and not encoder["source"]:  # mm_vision_tower points here
        (folder / "vision_tower").mkdir()
        (folder / "vision_tower" / "config.json").write_text(
            json.dumps(configs.tower_config(encoder), indent=2) + "\n", encoding="utf-8"
        )


def _write_beside(folder: Path, state: dict[str, Tensor], request: ExportRequest) -> None:
    """Write files of single parts: the original ones; for a model of ours with sound, BEATs and its cfg."""
    files, beats = dict(request.record.get("files") or {}), request.record.get("beats")
    if not request.record and request.config["audio_encoder"] is not None:
        files = {"audio_tower.bin": [name for name in state if name.startswith("model.audio_tower.")]}
        beats = configs.beats_config(request.config["audio_encoder"])
    for file, names in files.items():
        held = {name: state[name].clone() for name in names if name in state}
        content: dict[str, Any] = held
        if file == "audio_tower.bin" and beats is not None:
            model = {name.removeprefix("model.audio_tower."): tensor for name, tensor in held.items()}
            content = {"cfg": beats, "model": model}
        torch.save(content, folder / file)
