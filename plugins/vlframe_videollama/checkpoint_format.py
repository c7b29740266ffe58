"""Convert Video-LLaMA's checkpoints to our parts, and back.

The official training saves what it trains (and every buffer) under the key ``model``: a file of the visual branch
(``VL_….pth``, ``finetune-vicuna7b-v2.pth``) and one of the audio branch (``AL_….pth``). Everything else comes from
other projects' files, in the order of ``Format.sources``. The audio branch is trained on frames, through ImageBind's
vision trunk; ``imagebind_vision`` reads its file for that.
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
    read_json,
    read_tensors,
)
from vlframe_videollama import begin, replay, sizes
from vlframe_videollama.names import IMAGEBIND, LLM, VIT, names, names_of

SYSTEMS = ("Video-LLaMA v1", "ImageBind audio front end as used by Video-LLaMA")
FILE = re.compile(r"(VL|AL)(_.*)?|(finetune|pretrain)[-_].*vicuna.*|pretrained_minigpt4.*", re.IGNORECASE)
SIZES = "sizes.json"
# What the official training saves for each branch.
BRANCHES = {
    "VL.pth": ("llama_proj.", "video_frame_position_embedding.", "video_query_tokens", "video_Qformer."),
    "AL.pth": ("audio_llama_proj.", "audio_position_embedding.", "audio_query_tokens", "audio_Qformer."),
}


class Format:
    """The ``CheckpointFormat`` of Video-LLaMA."""

    sources = {  # noqa: RUF012
        "sizes": "numbers of attention heads, for a model of other sizes than the released ones: a JSON file",
        "vit": "eva_vit_g.pth",
        "blip2": "blip2_pretrained_flant5xxl.pth",
        "imagebind": "imagebind_huge.pth, to hear with",
        "imagebind_vision": "imagebind_huge.pth, to train the audio branch (an AL .pth as the source) on frames",
        "base": "the language model: a folder with config.json",
        "source": "the file of a branch, VL .pth or AL .pth; or MiniGPT-4's .pth, which training begins with",
        "audio": "the AL .pth that belongs to a VL .pth",
    }

    def recognises(self, source: Path) -> bool:
        """Recognise a recording by its system, and a file by its name."""
        if source.suffix == ".safetensors" and source.with_suffix(".json").is_file():
            return str(read_json(source.with_suffix(".json")).get("system", "")).startswith(SYSTEMS)
        return source.suffix == ".pth" and FILE.fullmatch(source.stem) is not None

    def names(self, config: Mapping[str, Any]) -> TensorNames:
        return names_of(config)

    def read(self, sources: Mapping[str, Path]) -> ImportedCheckpoint:
        """Read everything, with later files over earlier ones. WeightsError says what is missing."""
        through_vision = "imagebind_vision" in sources
        _check_together(sources)
        layers = TensorLayers(NameTable(names(None, through_vision=through_vision)))
        own: dict[str, list[str]] = {}
        for role in self.sources:
            if role in sources and role != "sizes":
                own[role] = _add(layers, role, sources[role])
        record: dict[str, Any] = {"form": "branches", "files": {}}
        for role in ("source", "audio"):
            if role in own:
                record["files"][sources[role].name] = own[role]
        numbers = sizes.heads(read_json(sources["sizes"]) if "sizes" in sources else {})
        if not through_vision and "video_query_tokens" not in layers.tensors:
            width, intermediate = _of_blip2(layers, sources["source"])
            layers.add("drawn", begin.video_qformer(width, numbers["connector"], intermediate))
            record = {"form": "begun"}
        tensors = {name: item.tensor for name, item in layers.tensors.items()}
        said = read_json(sources["base"] / "config.json")
        config = sizes.composition(tensors, said, numbers, through_vision=through_vision)
        config["processor"] = {"name": "videollama", "template": _template(sources)}
        return ImportedCheckpoint(config, layers.tensors, tokenizer=sources["base"], record=record)

    def write(self, folder: Path, request: ExportRequest) -> None:
        """Write the files of the branches, as they came in, or ``VL.pth`` and ``AL.pth`` if they were trained since."""
        files = request.record.get("files") or trained_files(request)
        folder.mkdir(parents=True, exist_ok=True)
        for name, held in files.items():
            torch.save({"model": {key: request.tensors[key].clone() for key in held}}, folder / name)
        numbers = sizes.numbers(request.config)
        if numbers != sizes.RELEASED:
            (folder / SIZES).write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")

    def verify(self, recording: Path) -> Iterator[Comparison]:
        return replay.verify(recording)


def trained_files(request: ExportRequest) -> dict[str, list[str]]:
    """Return the tensors that the official training would save, by file. ConfigError for tensors it has no file for."""
    config = request.config
    through_vision = config["encoder"]["name"] == "imagebind_vision"
    wanted = {"encoder": "eva_vit_g", "connector": "video_qformer"}
    if through_vision:
        wanted = {"connector": "audio_qformer"}
    elif config.get("audio_encoder"):
        wanted |= {"audio_encoder": "imagebind_audio", "audio_connector": "audio_qformer"}
    wrong = [f"{part} {config[part]['name']!r}" for part, name in wanted.items() if config[part]["name"] != name]
    if wrong:
        raise ConfigError(f"the official code has no {' and no '.join(wrong)}; it has {', '.join(wanted.values())}")
    learnt = [
        part
        for part in ("encoder", "audio_encoder", "llm")
        if config.get(part) and any(stage[part]["train"] != "frozen" for stage in config["stages"].values())
    ]
    if learnt:
        raise ConfigError(f"{', '.join(learnt)} learnt too, but the official files only hold the branches' connectors")
    files = {file: [name for name in request.tensors if name.startswith(starts)] for file, starts in BRANCHES.items()}
    if not through_vision and _frames_learnt(config):
        files["VL.pth"] += [name for name in request.tensors if name.startswith(("Qformer.", "query_tokens"))]
    return {file: held for file, held in files.items() if held}


def _frames_learnt(config: Mapping[str, Any]) -> bool:
    """Return whether a stage also trained BLIP-2's Q-Former, which the official code does on request."""
    parts = [stage["connector"] for stage in config["stages"].values()]
    return any(part["train"] != "frozen" and "qformer.*" not in (part["frozen"] or ()) for part in parts)


def _check_together(sources: Mapping[str, Path]) -> None:
    wanted = ["base", "imagebind_vision"] if "imagebind_vision" in sources else ["base", "vit", "blip2"]
    absent = [role for role in wanted if role not in sources]
    if absent:
        told = ", ".join(f"sources.{role}=<{Format.sources[role]}>" for role in absent)
        raise WeightsError(f"{sources['source'].name} is the file of a branch and holds nothing else; give {told}")
    if ("audio" in sources) != ("imagebind" in sources):
        raise WeightsError("sources.audio (the AL .pth) and sources.imagebind (imagebind_huge.pth) are given together")


def _add(layers: TensorLayers, role: str, path: Path) -> list[str]:
    """Add the tensors of a source; return their names, as they will be written."""
    under = {"vit": VIT, "imagebind": IMAGEBIND, "imagebind_vision": IMAGEBIND, "base": LLM}.get(role, "")
    if role != "base":
        if not path.is_file():
            raise WeightsError(f"{role} is {path}, and there is no such file")
        return layers.add(f"{role}:{path.name}", read_tensors(path, ("model",)), under=under)
    return layers.add_folder("base", path, under=LLM)


def _of_blip2(layers: TensorLayers, source: Path) -> tuple[int, int]:
    """Return the width of BLIP-2's Q-Former and of its MLPs, for a file that only has a projection."""
    if not {"llama_proj.weight", "Qformer.bert.encoder.layer.0.intermediate_query.dense.weight"} <= set(layers.tensors):
        raise WeightsError(
            f"{source} has neither a visual branch (video_query_tokens) nor a projection to begin with (llama_proj); "
            "a single AL .pth is read with sources.imagebind_vision, or as sources.audio beside a VL .pth"
        )
    weight: Tensor = layers.tensors["Qformer.bert.encoder.layer.0.intermediate_query.dense.weight"].tensor
    return int(weight.shape[1]), int(weight.shape[0])


def _template(sources: Mapping[str, Path]) -> str:
    """Choose the texts that the checkpoint was trained with, by the names of its files."""
    said = f"{sources['source'].stem} {sources['base'].name}"
    return "llama_2" if re.search(r"llama[-_]?2", said, re.IGNORECASE) else "vicuna"
