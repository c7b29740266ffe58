"""Convert official Video-ChatGPT checkpoints to our parts, and back.

Two forms: ``projector``, one .bin with the projector and the whole embedding table, in addition to the folder of the
language model that it was trained on (``video_chatgpt-7B.bin`` and LLaVA-Lightning-7B-v1-1); and ``full``, a folder
with config.json and everything. A folder of LLaVA-Lightning itself is also read, as the start of training. None of them
holds the CLIP tower.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vlframe import (
    Comparison,
    ConfigError,
    ExportRequest,
    ImportedCheckpoint,
    NameTable,
    TensorLayers,
    TensorNames,
    WeightsError,
    hf_architecture,
    hf_old_names,
    preset_of_source,
    read_json,
    read_tensors,
    whole_file,
    write_tensors,
)
from vlframe_videochatgpt import replay
from vlframe_videochatgpt.names import EMBEDDINGS, HEAD, NAMES, PROJECTOR
from vlframe_videochatgpt.settings import ADDED_TOKENS

MODEL_TYPE = "VideoChatGPT"
TOWER = "openai/clip-vit-large-patch14"  # loaded by the official code, whatever config.json says
FRAMES = 100
LAYER = -2


class Format:
    """The ``CheckpointFormat`` of Video-ChatGPT."""

    sources = {  # noqa: RUF012
        "base": "the language model that a projector file was trained on: a folder with its config.json",
        "vision": "the CLIP tower: a folder with its config.json",
        "source": "the projector .bin, or a folder with config.json and the whole state",
    }

    def recognises(self, source: Path) -> bool:
        """Recognise a recording by its system, a folder by its model_type, and a projector file by its name."""
        if source.suffix == ".safetensors" and source.with_suffix(".json").is_file():
            return str(read_json(source.with_suffix(".json")).get("system", "")).startswith("Video-ChatGPT")
        if (source / "config.json").is_file():
            return read_json(source / "config.json").get("model_type") == MODEL_TYPE
        return source.suffix == ".bin" and source.stem.replace("-", "_").lower().startswith("video_chatgpt")

    def names(self, config: Mapping[str, Any]) -> TensorNames:
        return NAMES

    def read(self, sources: Mapping[str, Path]) -> ImportedCheckpoint:
        """Read everything, with later files over earlier ones. WeightsError says what is missing."""
        source, base = sources["source"], sources.get("base")
        layers = TensorLayers(NameTable(NAMES))
        whole = whole_file(source) if source.is_dir() else None
        if source.is_dir() and whole is None:
            raise WeightsError(f"{source} has no model.safetensors and no pytorch_model.bin (or their index)")
        folder = source if whole is not None else base
        if folder is None:
            raise WeightsError(
                f"{source.name} holds a projector and embeddings, and no language model; give sources.base=<folder of "
                "the model it was trained on, LLaVA-Lightning-7B-v1-1>"
            )
        layers.add_folder("source" if whole is not None else "base", folder)
        record: dict[str, Any] = {"form": "full", "config": read_json(folder / "config.json")}
        if whole is None:
            names = layers.add(f"source:{source.name}", read_tensors(source))
            _check_projector(source, names)
            record = {"form": "projector", "file": source.name, "names": names}
        elif record["config"].get("model_type") != MODEL_TYPE:  # LLaVA's, from which training starts
            rows = int(layers.tensors[EMBEDDINGS].tensor.shape[0]) + len(ADDED_TOKENS)
            _grow(layers, EMBEDDINGS, rows)
            record = {"form": "begun"}
        rows = int(layers.tensors[EMBEDDINGS].tensor.shape[0])
        _grow(layers, HEAD, rows)
        config = _config(read_json(folder / "config.json"), rows, sources.get("vision"))
        return ImportedCheckpoint(config, layers.tensors, tokenizer=folder, record=record)

    def write(self, folder: Path, request: ExportRequest) -> None:
        """Write the form that the weights came in; ``full`` if they were trained since."""
        _check_writable(request.config)
        folder.mkdir(parents=True, exist_ok=True)
        if request.record.get("form") == "projector":
            kept = {name: request.tensors[name].clone() for name in request.record["names"]}
            torch.save(kept, folder / request.record["file"])
            return
        write_tensors(folder, request.tensors)
        config = request.record.get("config") or _official_config(request)
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        for file in sorted(request.tokenizer.iterdir()) if request.tokenizer else ():
            shutil.copyfile(file, folder / file.name)

    def verify(self, recording: Path) -> Iterator[Comparison]:
        return replay.verify(recording)


def _check_projector(file: Path, names: list[str]) -> None:
    absent = [name for name in (f"{PROJECTOR}weight", f"{PROJECTOR}bias", EMBEDDINGS) if name not in names]
    if absent:
        raise WeightsError(f"{file} has no {', '.join(absent)}; a projector file of Video-ChatGPT has the three")


def _grow(layers: TensorLayers, name: str, rows: int) -> None:
    """Add rows to a table for the added tokens, each the mean of the existing rows, as when official training begins.
    No file holds those of the output layer: the official code draws them anew at each loading."""
    table: Tensor = layers.tensors[name].tensor
    more = rows - table.shape[0]
    if more < 0:
        raise WeightsError(
            f"the file has {rows} rows of embeddings and the base model has {table.shape[0]} of {name}; it belongs to "
            "another base model"
        )
    if more:
        mean = table.float().mean(0, keepdim=True).to(table.dtype)
        grown = torch.cat([table, mean.expand(more, -1)])
        layers.add(f"{layers.tensors[name].file} and {more} rows of its mean", {name: grown})


def _config(said: Mapping[str, Any], rows: int, vision: Path | None) -> dict[str, Any]:
    """Return our config of the composition."""
    architecture = {"model_type": "llama", **hf_architecture("llama", said), "vocab_size": rows - len(ADDED_TOKENS)}
    return {
        "encoder": _encoder(vision),
        "connector": {"name": "mean_pools", "temporal": FRAMES},
        "llm": {
            "name": "causal_lm",
            "architecture": architecture,
            "source": None,
            "tokenizer": None,
            "added_tokens": list(ADDED_TOKENS),
        },
        "pixels": {"name": "nearest"},
        "processor": {"name": "videochatgpt"},
        "media": {"frames": FRAMES, "sampler": {"name": "videochatgpt"}},
        "chat_template": "vicuna",
    }


def _encoder(vision: Path | None) -> dict[str, Any]:
    if vision is None:
        preset = preset_of_source("encoder", TOWER)
        if preset is None:
            raise WeightsError(f"there is no encoder preset of {TOWER}; give sources.vision=<its folder>")
        return {**preset, "layer": LAYER}
    if not (vision / "config.json").is_file():
        raise WeightsError(f"vision is {vision}, which has no config.json; it is the folder of the CLIP tower")
    config = read_json(vision / "config.json")
    config = config.get("vision_config", config)
    holds = any(vision.glob("*.safetensors")) or any(vision.glob("*.bin"))
    return {
        "name": "clip",
        "layer": LAYER,
        "architecture": hf_architecture("clip_vision_model", config),
        "source": str(vision.resolve()) if holds else None,
    }


def _check_writable(config: Mapping[str, Any]) -> None:
    wanted = {"encoder": "clip", "connector": "mean_pools"}
    wrong = [f"{part} {config[part]['name']!r}" for part, name in wanted.items() if config[part]["name"] != name]
    if wrong:
        raise ConfigError(f"the official code has no {' and no '.join(wrong)}; it has clip and mean_pools")
    if config["connector"]["temporal"] != FRAMES:
        raise ConfigError(
            f"the official code has {FRAMES} tokens of frames and this connector {config['connector']['temporal']}"
        )


def _official_config(request: ExportRequest) -> dict[str, Any]:
    if request.hf_config is None or request.hf_config["model_type"] != "llama":
        raise ConfigError("the official code has no other language model than Llama")
    return {
        **hf_old_names(request.hf_config),
        "model_type": MODEL_TYPE,
        "architectures": ["VideoChatGPTLlamaForCausalLM"],
        "mm_vision_tower": request.config["encoder"]["source"] or TOWER,
        "mm_hidden_size": request.config["encoder"]["architecture"]["hidden_size"],
        "use_mm_proj": True,
        "mm_use_vid_start_end": True,
    }
