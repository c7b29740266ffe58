"""Read an official folder (or one of its files) unchanged, with the config of our composition."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vlframe import (
    ImportedCheckpoint,
    NameTable,
    TensorLayers,
    WeightsError,
    adapter_settings,
    read_adapter,
    read_files,
    read_json,
    read_pickle,
    read_tensors,
    whole_file,
)
from vlframe_videollama2 import config as configs
from vlframe_videollama2.names import NAMES

BESIDE = ("mm_projector.bin", "mm_projector_a.bin", "audio_tower.bin")  # written by stages of the official training
LORA_REST = "non_lora_trainables.bin"


@dataclass
class Official:
    """A folder as it was found; the facts kept for an export are in ``record``."""

    folder: Path
    config: dict[str, Any]
    layers: TensorLayers
    form: str = "full"
    files: dict[str, list[str]] = field(default_factory=dict)  # file next to the whole state -> names in it
    apart: list[str] = field(default_factory=list)  # names that are only in those files
    adapter_config: dict[str, Any] = field(default_factory=dict)
    beats: dict[str, Any] | None = None  # the ``cfg`` of a BEATs file

    @property
    def record(self) -> dict[str, Any]:
        kept = ("form", "config", "files", "apart", "adapter_config", "beats")
        return {name: getattr(self, name) for name in kept}


def read(sources: Mapping[str, Path]) -> ImportedCheckpoint:
    """Read everything in a folder. WeightsError says what is missing."""
    official = _open(sources)
    tensors, names = official.layers.tensors, official.layers.names
    adapters = adapter_settings(names, tensors, official.adapter_config) if official.form == "lora" else {}
    return ImportedCheckpoint(_config(official, sources), tensors, adapters, official.folder, official.record)


def _open(sources: Mapping[str, Path]) -> Official:
    folder = configs.folder_of(sources["source"])
    if not (folder / "config.json").is_file():
        raise WeightsError(f"{folder} has no config.json; an official checkpoint has one beside its weights")
    official = Official(folder, read_json(folder / "config.json"), TensorLayers(NameTable(NAMES)))
    if "audio" in sources:
        _add_beside(official, sources["audio"], "audio")
    whole = whole_file(folder)
    beside = [folder / name for name in BESIDE if (folder / name).is_file()]
    if (folder / "adapter_config.json").is_file():
        _add_lora(official)
    elif whole is not None:
        for file, tensors in read_files(whole):
            official.layers.add(f"source:{file.name}", tensors)
    elif beside:
        official.form = "base"
    else:
        raise WeightsError(
            f"{folder} has none of model.safetensors, pytorch_model.bin (or their index), adapter_config.json, "
            f"{', '.join(BESIDE)}; it is not an official checkpoint"
        )
    for file in beside:
        before = set(official.layers.tensors)
        official.files[file.name] = _add_beside(official, file, "source")
        official.apart += [name for name in official.files[file.name] if name not in before]
    return official


def _add_lora(official: Official) -> None:
    official.form = "lora"
    file, adapter, official.adapter_config = read_adapter(official.folder)
    rest = official.folder / LORA_REST
    if not rest.is_file():
        raise WeightsError(f"{official.folder} has no {LORA_REST}, which holds what was trained beside the adapters")
    official.layers.add(f"source:{rest.name}", read_tensors(rest))
    official.layers.add(f"source:{file}", adapter)


def _add_beside(official: Official, path: Path, source: str) -> list[str]:
    """Add a part's own file: BEATs as published ({"cfg", "model"}), or tensors under official names."""
    content = read_pickle(path) if path.suffix != ".safetensors" else None
    label, same = f"{source}:{path.name}", source != "source"
    if isinstance(content, dict) and {"cfg", "model"} <= content.keys():
        official.beats = dict(content["cfg"])
        return official.layers.add(label, content["model"], under="model.audio_tower.", replace=same)
    return official.layers.add(label, read_tensors(path), replace=same)


def _config(official: Official, sources: Mapping[str, Path]) -> dict[str, Any]:
    """Return our config of the composition."""
    said = official.config
    llm: dict[str, Any] = {
        "name": "causal_lm",
        "architecture": configs.language_model(said),
        "source": None,
        "tokenizer": None,
    }
    family = llm["architecture"]["model_type"]
    encoder = configs.encoder(said, official.folder, sources.get("vision"))
    places = map(official.layers.names.ours, official.layers.tensors)
    if any(place is not None and place.part == "encoder" for place in places):
        encoder["source"] = None  # the checkpoint itself holds the tower
    if official.form != "full":
        llm["source"] = _base(official, sources.get("base"))
    config: dict[str, Any] = {
        "encoder": encoder,
        "connector": configs.connector(said.get("mm_projector_type", "linear"), "mm_projector_type"),
        "llm": llm,
        "audio_encoder": None,
        "audio_connector": None,
        "media": {"frames": said.get("num_frames", 8)},
        "chat_template": configs.TEMPLATES.get(family),
    }
    if said.get("mm_audio_tower"):
        config["audio_encoder"] = configs.audio_encoder(official.beats, f"{official.folder} ({said['mm_audio_tower']})")
        config["audio_connector"] = configs.connector(said.get("mm_projector_a_type", "linear"), "mm_projector_a_type")
    return config


def _base(official: Official, given: Path | None) -> str:
    """Return the source of the language model, for a checkpoint without one."""
    base = given or official.adapter_config.get("base_model_name_or_path") or official.config.get("_name_or_path")
    if not base:
        raise WeightsError(
            f"{official.folder} holds no language model and does not say which it belongs to; give "
            "sources.base=<folder or id>"
        )
    return str(Path(base).resolve()) if Path(base).is_dir() else str(base)
