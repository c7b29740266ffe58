"""Convert BLIP-2's checkpoints to our parts, and back.

``blip2_pretrained.pth`` is what the first stage trains: Q-Former, heads and ``ln_vision``. A file of the second stage
lies over it: a Q-Former without its text path, and a projection. The ViT and the language model have their own files.
The first stage begins with the folder of BERT as the source.
"""

from __future__ import annotations

import json
import re
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
    query_path,
    read_json,
    read_tensors,
)
from vlframe_blip2 import begin, replay, sizes
from vlframe_blip2.names import LLM, VIT, WORDS, names, names_of

SYSTEM = "BLIP-2"
FILE = re.compile(r"blip2_pretrained.*", re.IGNORECASE)
TRAINED, SIZES = "blip2_pretrained.pth", "sizes.json"
QFORMER, PATCHES = "Qformer.", f"{VIT}patch_embed.proj.weight"
NEEDED = ("query_tokens", WORDS, "vision_proj.weight", "ln_vision.weight")


class Format:
    """The ``CheckpointFormat`` of BLIP-2."""

    sources = {  # noqa: RUF012
        "sizes": "numbers of attention heads, for a model of other sizes than the released ones: a JSON file",
        "vit": "eva_vit_g.pth",
        "base": "the language model: the folder of an OPT, with config.json",
        "stage1": "blip2_pretrained.pth, under a file of the second stage",
        "source": "blip2_pretrained.pth, or a file of the second stage with an OPT; or the folder of "
        "bert-base-uncased, which the first stage begins with",
    }

    def recognises(self, source: Path) -> bool:
        """Recognise a recording by its system, and a file by its name."""
        if source.suffix == ".safetensors" and source.with_suffix(".json").is_file():
            return str(read_json(source.with_suffix(".json")).get("system", "")).startswith(SYSTEM)
        return source.suffix == ".pth" and FILE.fullmatch(source.stem) is not None

    def names(self, config: Mapping[str, Any]) -> TensorNames:
        return names_of(config)

    def read(self, sources: Mapping[str, Path]) -> ImportedCheckpoint:
        """Read everything, with later files over earlier ones. WeightsError says what is missing."""
        if absent := [role for role in ("vit", "base") if role not in sources]:
            told = ", ".join(f"sources.{role}=<{self.sources[role]}>" for role in absent)
            raise WeightsError(f"{sources['source'].name} has only a part of the model; give {told}")
        if sources["source"].is_dir() and "stage1" in sources:
            raise WeightsError(
                f"{sources['source']} is a folder, which the first stage begins with, and sources.stage1 is of a later "
                f"one; leave it out"
            )
        layers, held = TensorLayers(NameTable(names())), list[str]()
        for role in self.sources:
            if role in sources and role != "sizes":
                held = _add(layers, role, sources[role])
        if sources["source"].is_dir():
            _add_begun(layers)
        if absent := [name for name in NEEDED if name not in layers.tensors]:
            raise WeightsError(
                f"{sources['source'].name} does not hold {', '.join(absent)}; give "
                f"sources.stage1=<blip2_pretrained.pth>, which a file of the second stage lies over"
            )
        language = read_json(sources["base"] / "config.json")
        record: dict[str, Any] = {"form": "file", "file": sources["source"].name, "names": held}
        if "opt_proj.weight" not in layers.tensors:
            record = {"form": "begun"}
            queries = int(layers.tensors["query_tokens"].tensor.shape[2])
            layers.add("drawn", begin.second_stage(queries, int(language["hidden_size"])))
        number = sizes.heads(_said(sources))
        config = sizes.composition(_tensors(layers), sources["base"], language, number)
        if sources["source"].is_dir():
            config["connector"] |= sizes.tokenizer_of(sources["source"])
        return ImportedCheckpoint(config, layers.tensors, tokenizer=sources["base"], record=record)

    def write(self, folder: Path, request: ExportRequest) -> None:
        """Write the file as it came in, or ``blip2_pretrained.pth`` if it was trained since."""
        wanted = {"encoder": "eva_vit_g", "connector": "qformer_instruct"}
        for part, name in wanted.items():
            if request.config[part]["name"] != name:
                raise ConfigError(f"BLIP-2 has {part} {name!r}, and this is {request.config[part]['name']!r}")
        folder.mkdir(parents=True, exist_ok=True)
        table = NameTable(names_of(request.config))
        held = request.record.get("names") or [
            name
            for name in request.tensors
            if not name.startswith((VIT, LLM, "opt_proj.")) and not table.is_unused(name)
        ]
        state = {name: request.tensors[name].clone() for name in held}
        torch.save({"model": state}, folder / (request.record.get("file") or TRAINED))
        number = {"encoder": request.config["encoder"]["num_attention_heads"],
                  "connector": request.config["connector"]["heads"]}  # fmt: skip
        if number != sizes.RELEASED:
            (folder / SIZES).write_text(json.dumps(number, indent=2) + "\n", encoding="utf-8")

    def verify(self, recording: Path) -> Iterator[Comparison]:
        return replay.verify(recording)


def _add(layers: TensorLayers, role: str, path: Path) -> list[str]:
    """Add the tensors of a source; return their names."""
    if role == "base":
        return layers.add_folder("base", path, under=LLM)
    if role == "source" and path.is_dir():
        return layers.add_folder("source", path, under=QFORMER)
    if not path.is_file():
        raise WeightsError(f"{role} is {path}, and there is no such file")
    return layers.add(f"{role}:{path.name}", read_tensors(path, ("model",)), under=VIT if role == "vit" else "")


def _add_begun(layers: TensorLayers) -> None:
    """Add what the first stage begins with beside BERT and the ViT."""
    tensors = _tensors(layers)
    norm = "Qformer.bert.embeddings.LayerNorm.weight"
    if absent := [name for name in (PATCHES, norm) if name not in tensors]:
        raise WeightsError(f"there is no {' and no '.join(absent)}; the source is the folder of bert-base-uncased, and "
                           "sources.vit is eva_vit_g.pth")  # fmt: skip
    keys, text = tensors[PATCHES].shape[0], {name: tensors[name] for name in tensors if name.startswith(QFORMER)}
    layers.add("begun", query_path(text, keys=keys, every=begin.EVERY, new_words=1))  # [DEC]
    layers.add("begun", begin.drawn(tensors[norm].shape[0], keys))


def _said(sources: Mapping[str, Path]) -> dict[str, Any]:
    """Return the numbers of heads that are given, by BERT's config and by the file of sizes."""
    bert = read_json(sources["source"] / "config.json") if sources["source"].is_dir() else {}
    heads = {"connector": bert["num_attention_heads"]} if "num_attention_heads" in bert else {}
    return heads | (read_json(sources["sizes"]) if "sizes" in sources else {})


def _tensors(layers: TensorLayers) -> dict[str, Tensor]:
    return {name: item.tensor for name, item in layers.tensors.items()}
