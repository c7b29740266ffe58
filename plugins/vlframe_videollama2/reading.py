"""An official folder (or one of its files) into our parts, with an account of every tensor."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vlframe import Foreign, WeightsError
from vlframe_videollama2 import config as configs
from vlframe_videollama2 import names
from vlframe_videollama2.files import (
    ADAPTER,
    BESIDE,
    LORA_REST,
    first_file,
    has_tokenizer,
    read_json,
    read_pickle,
    read_tensors,
    read_whole,
)

LORA = (".lora_A.weight", ".lora_B.weight")


@dataclass
class Official:
    """A folder as it was found: its tensors under their full official names."""

    folder: Path
    config: dict[str, Any]
    form: str = "full"
    tensors: dict[str, Tensor] = field(default_factory=dict)
    files: dict[str, list[str]] = field(default_factory=dict)  # file beside the whole state -> names in it
    apart: list[str] = field(default_factory=list)  # names that are in those files alone
    adapters: dict[str, Tensor] = field(default_factory=dict)
    adapter_config: dict[str, Any] = field(default_factory=dict)
    beats: dict[str, Any] | None = None  # the ``cfg`` of a BEATs file


def read(source: Path, given: Mapping[str, str | None]) -> Foreign:
    """Everything of a folder. WeightsError says what is absent, and what could not be explained."""
    official = _open(source, given)
    config = _config(official, given)
    tensors = _route(official, config)
    adapters = _adapters(official, tensors)
    record = {
        "form": official.form,
        "config": official.config,
        "files": official.files,
        "apart": official.apart,
        "adapter_config": official.adapter_config,
        "beats": official.beats,
    }
    tokenizer = official.folder if has_tokenizer(official.folder) else None
    return Foreign(config, tensors, adapters, tokenizer, record)


def _open(source: Path, given: Mapping[str, str | None]) -> Official:
    folder = source if source.is_dir() else source.parent
    if not (folder / "config.json").is_file():
        raise WeightsError(
            f"{source}: there is no config.json in {folder}; an official checkpoint has one beside its weights"
        )
    official = Official(folder, read_json(folder / "config.json"))
    whole = read_whole(folder)
    if (folder / "adapter_config.json").is_file():
        official.form = "lora"
        _open_lora(official)
    elif whole is not None:
        official.tensors = whole
    elif any((folder / name).is_file() for name in BESIDE):
        official.form = "base"
    else:
        raise WeightsError(
            f"{folder} has none of model.safetensors, pytorch_model.bin (or their index), adapter_config.json, "
            f"{', '.join(BESIDE)}; it is not an official checkpoint"
        )
    for name in BESIDE:
        if (folder / name).is_file():
            _add_beside(official, folder / name)
    if given.get("audio"):
        _add_beside(official, Path(str(given["audio"])), listed=False)
    return official


def _open_lora(official: Official) -> None:
    folder = official.folder
    official.adapter_config = read_json(folder / "adapter_config.json")
    file = first_file(folder, ADAPTER)
    if file is None:
        raise WeightsError(f"{folder} has adapter_config.json and neither of {', '.join(ADAPTER)}")
    official.adapters = read_tensors(file)
    if not (folder / LORA_REST).is_file():
        raise WeightsError(f"{folder} has no {LORA_REST}, which holds what was trained beside the adapters")
    official.tensors = read_tensors(folder / LORA_REST)


def _add_beside(official: Official, path: Path, listed: bool = True) -> None:
    """A part's own file: BEATs as published, or tensors under official names (of any wrapper)."""
    content = read_pickle(path) if path.suffix != ".safetensors" else read_tensors(path)
    if isinstance(content, dict) and {"cfg", "model"} <= content.keys():
        official.beats = dict(content["cfg"])
        state = {f"model.audio_tower.{name}": tensor for name, tensor in content["model"].items()}
    elif isinstance(content, dict):
        state = {_full_name(name, path): tensor for name, tensor in content.items()}
    else:
        raise WeightsError(f"{path} should map names to tensors and does not")
    if listed:
        official.files[path.name] = list(state)
        official.apart += [name for name in state if name not in official.tensors]
    for name, tensor in state.items():
        if name in official.tensors and not torch.equal(official.tensors[name], tensor):
            raise WeightsError(
                f"{path} and the whole state in {official.folder} both have {name}, and they differ; remove the one "
                "that is not meant"
            )
        official.tensors[name] = tensor


def _full_name(name: str, path: Path) -> str:
    """``mm_projector.readout.0.weight`` of any wrapper -> ``model.mm_projector.readout.0.weight``."""
    for part in ("mm_projector_a.", "mm_projector.", "audio_tower.", "vision_tower."):
        before, found, after = name.partition(part)
        if found and re.fullmatch(r"(?:(?:module|base_model|model)\.)*", before):
            return f"model.{part}{after}"
    raise WeightsError(f"{path} holds {name!r}, which is of no part that has a file of its own")


def _config(official: Official, given: Mapping[str, str | None]) -> dict[str, Any]:
    """Our config of the composition."""
    said = official.config
    llm = {"name": "causal_lm", "architecture": configs.language_model(said), "source": None, "tokenizer": None}
    family = llm["architecture"]["model_type"]
    encoder = configs.encoder(said, official.folder, given.get("vision"))
    if any(names.ours(name)[0] == "encoder" for name in official.tensors):
        encoder["source"] = None  # the checkpoint holds the tower itself
    if official.form != "full":
        llm["source"] = _base(official, given)
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
        config["audio_encoder"] = _beats(official)
        config["audio_connector"] = configs.connector(said.get("mm_projector_a_type", "linear"), "mm_projector_a_type")
    return config


def _base(official: Official, given: Mapping[str, str | None]) -> str:
    """Where the language model of a checkpoint without one is."""
    base = given.get("base") or official.adapter_config.get("base_model_name_or_path")
    base = base or official.config.get("_name_or_path")
    if not base:
        raise WeightsError(
            f"{official.folder} holds no language model and does not say which it belongs to; give base=<folder or id>"
        )
    return str(Path(base).resolve()) if Path(base).is_dir() else str(base)


def _beats(official: Official) -> dict[str, Any]:
    if official.beats is None:
        raise WeightsError(
            f"{official.folder} has an audio tower ({official.config['mm_audio_tower']}) and no BEATs file with its "
            "cfg, so its shape is not known; give audio=<BEATs .pt>"
        )
    fixed = {"activation_fn": "gelu", "layer_norm_first": False}
    wrong = [name for name, value in fixed.items() if official.beats.get(name, value) != value]
    if wrong:
        told = ", ".join(f"{name}={official.beats[name]!r}" for name in wrong)
        raise WeightsError(f"{official.folder}: a BEATs with {told} cannot be built; only {fixed}")
    fields = {name: value for name, value in official.beats.items() if name in configs.BEATS}
    return {"name": "beats", **fields, "source": None}


def _route(official: Official, config: Mapping[str, Any]) -> dict[str, dict[str, Tensor]]:
    """Every tensor to its part, under our name."""
    tensors: dict[str, dict[str, Tensor]] = {part: {} for part in names.PARTS if config[part] is not None}
    homeless = []
    for name, tensor in official.tensors.items():
        part, own = names.ours(name)
        if part in tensors:
            tensors[part][own] = tensor
        else:
            homeless.append(name)
    if homeless:
        raise WeightsError(
            f"{official.folder} holds {len(homeless)} tensors of parts that its config.json does not have: "
            f"{', '.join(homeless[:8])}"
        )
    tensors["llm"] = names.fuse_experts(tensors["llm"])
    return tensors


def _adapters(official: Official, tensors: dict[str, dict[str, Tensor]]) -> dict[str, dict[str, Any]]:
    """Adapter tensors among those of their part, and the settings they need."""
    modules: dict[str, set[str]] = {}
    for name, tensor in official.adapters.items():
        if not name.endswith(LORA):
            raise WeightsError(f"{official.folder}: the adapter holds {name!r}; only lora_A and lora_B are known")
        part, own = names.ours(name)
        module, kind, weight = own.rsplit(".", 2)
        tensors.setdefault(part, {})[f"{module}.{kind}.default.{weight}"] = tensor
        modules.setdefault(part, set()).add(module)
    said = official.adapter_config
    return {
        part: {
            "rank": said["r"],
            "alpha": float(said["lora_alpha"]),
            "dropout": float(said.get("lora_dropout", 0.0)),
            "targets": sorted(found),
        }
        for part, found in modules.items()
    }
