"""Convert VideoChat's checkpoints to our parts, and back.

The official training saves its trained tensors (and every buffer) under the key ``model``: the global token's modules,
``ln_vision``, the additional queries and the projection. Everything else comes from other projects' files, in the order
of ``Format.sources``. Training begins with BLIP-2's file as the source.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
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
    names_parameter,
    read_json,
    read_tensors,
)
from vlframe_videochat import begin, replay, sizes
from vlframe_videochat.names import LLM, VIT, is_saved, names, names_of

SYSTEM = "VideoChat v1"
FILE = re.compile(r"videochat(?!2).*", re.IGNORECASE)  # VideoChat2 is another system
SIZES, TRAINED = "sizes.json", "videochat.pth"
PATCHES = f"{VIT}patch_embed.proj.weight"


class Format:
    """The ``CheckpointFormat`` of VideoChat."""

    sources = {  # noqa: RUF012
        "sizes": "numbers of attention heads, for a model of other sizes than the released ones: a JSON file",
        "vit": "eva_vit_g.pth",
        "blip2": "blip2_pretrained_flant5xxl.pth",
        "base": "the language model: a folder with config.json",
        "source": "VideoChat's .pth, or BLIP-2's to begin training with",
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
        unseen = sizes.hidden(read_json(sources["sizes"]) if "sizes" in sources else {})
        _check_together(sources, ("base", "vit"))
        layers = TensorLayers(NameTable(names()))
        held: list[str] = []
        for role in self.sources:
            if role in sources and role != "sizes":
                held = _add(layers, role, sources[role], unseen)
        record: dict[str, Any] = {"form": "file", "file": sources["source"].name, "names": held}
        language = read_json(sources["base"] / "config.json")
        if "llama_proj.weight" not in held:
            record = {"form": "begun"}
            layers.add("drawn", begin.drawn(_of_blip2(layers, sources["source"]), int(language["hidden_size"])))
        else:
            _check_together(sources, ("blip2",))
        tensors = {name: item.tensor for name, item in layers.tensors.items()}
        config = sizes.composition(tensors, language, unseen)
        return ImportedCheckpoint(config, layers.tensors, tokenizer=sources["base"], record=record)

    def write(self, folder: Path, request: ExportRequest) -> None:
        """Write the file as it came in, or ``videochat.pth`` if it was trained since."""
        file, held = request.record.get("file") or TRAINED, request.record.get("names") or saved(request)
        folder.mkdir(parents=True, exist_ok=True)
        torch.save({"model": {name: request.tensors[name].clone() for name in held}}, folder / file)
        unseen = sizes.hidden_of(request.config)
        if unseen != sizes.Hidden():
            (folder / SIZES).write_text(json.dumps(asdict(unseen), indent=2) + "\n", encoding="utf-8")

    def verify(self, recording: Path) -> Iterator[Comparison]:
        return replay.verify(recording)


def saved(request: ExportRequest) -> list[str]:
    """Return the tensors that the official training would save: those that it trains, and others that a stage trained.

    ConfigError for parts that the official code lacks, and for a trained language model, which it keeps frozen.
    """
    config = request.config
    wanted = {"encoder": "eva_vit_g_mhra", "connector": "qformer_extra"}
    wrong = [f"{part} {config[part]['name']!r}" for part, name in wanted.items() if config[part]["name"] != name]
    if wrong:
        raise ConfigError(f"the official code has no {' and no '.join(wrong)}; it has {' and '.join(wanted.values())}")
    stages = list(config["stages"].values())
    if any(stage["llm"]["train"] != "frozen" for stage in stages):
        raise ConfigError("llm was trained too, and the official file has no language model")
    table = NameTable(names_of(config))
    found = []
    for name in request.tensors:
        place = table.ours(name)
        learnt = place is not None and any(_learns(stage[place.part], place.name) for stage in stages)
        if learnt or is_saved(name):
            found.append(name)
    return found


def _learns(settings: Mapping[str, Any], name: str) -> bool:
    """Return whether a stage trains a tensor of a part, by the stage's patterns."""
    if settings["train"] == "frozen" or any(names_parameter(pattern, name) for pattern in settings["frozen"] or ()):
        return False
    return settings["trainable"] is None or any(names_parameter(pattern, name) for pattern in settings["trainable"])


def _check_together(sources: Mapping[str, Path], wanted: tuple[str, ...]) -> None:
    absent = [role for role in wanted if role not in sources]
    if absent:
        told = ", ".join(f"sources.{role}=<{Format.sources[role]}>" for role in absent)
        raise WeightsError(f"{sources['source'].name} has only a part of the model; give {told}")


def _add(layers: TensorLayers, role: str, path: Path, unseen: sizes.Hidden) -> list[str]:
    """Add the tensors of a source; return their names, as they will be written."""
    if role == "base":
        return layers.add_folder("base", path, under=LLM)
    if not path.is_file():
        raise WeightsError(f"{role} is {path}, and there is no such file")
    tensors = read_tensors(path, ("model",))
    if role == "vit":
        patches = PATCHES.removeprefix(VIT)
        if patches not in tensors:
            raise WeightsError(f"vit is {path}, which has no {patches}; it is eva_vit_g.pth")
        tensors = {**tensors, patches: _over_time(tensors[patches], unseen)}
    return layers.add(f"{role}:{path.name}", tensors, under=VIT if role == "vit" else "")


def _over_time(weight: Tensor, unseen: sizes.Hidden) -> Tensor:
    """Inflate the patch projection of single frames, at the centre of one over time (eva_vit.py, inflate_weight)."""
    if weight.ndim == 5:
        return weight
    frames = 3 if unseen.halve_frames else 1
    inflated = weight.new_zeros(*weight.shape[:2], frames, *weight.shape[2:])
    inflated[:, :, frames // 2] = weight
    return inflated


def _of_blip2(layers: TensorLayers, source: Path) -> dict[str, Tensor]:
    """Return all tensors, for a source that training begins with."""
    if not {"query_tokens", "ln_vision.weight"} <= set(layers.tensors):
        raise WeightsError(
            f"{source} has neither VideoChat's projection (llama_proj) nor BLIP-2's queries (query_tokens), which "
            "training begins with"
        )
    return {name: item.tensor for name, item in layers.tensors.items()}
