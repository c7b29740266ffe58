"""Convert mPLUG-Owl's Hugging Face folders to our parts, and back: config.json and the whole state in (sharded) files.

The checkpoints for images have no temporal modules and no temporal queries; a folder's tensors show which kind it is. A
LoRA saved by the official training (``adapter_model.bin``) is applied to the folder it was trained on.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

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
    adapter_settings,
    hf_architecture,
    hf_old_names,
    is_matrix,
    read_adapter,
    read_json,
    write_adapter,
    write_tensors,
)
from vlframe_mplug_owl import replay
from vlframe_mplug_owl.names import NAMES

MODEL_TYPE = "mplug-owl"
FRAMES = 4
TOWER = (
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "image_size", "patch_size",
    "layer_norm_eps",
)  # fmt: skip
# Defaults for fields missing in config.json: those of the official configuration_mplug_owl.py.
TOWER_DEFAULTS = (1024, 4096, 24, 16, 224, 14, 1e-6)
ABSTRACTOR = {  # official name: ours
    "num_hidden_layers": "depth",
    "num_attention_heads": "heads",
    "intermediate_size": "intermediate_size",
    "layer_norm_eps": "layer_norm_eps",
    "attention_probs_dropout_prob": "dropout",
}
ABSTRACTOR_DEFAULTS = (6, 16, 4096, 1e-6, 0.1)


class Format:
    """The ``CheckpointFormat`` of mPLUG-Owl."""

    sources = {  # noqa: RUF012
        "base": "the folder that an adapter was trained on",
        "source": "a folder with config.json and the whole state, or one with adapter_config.json",
    }

    def recognises(self, source: Path) -> bool:
        if source.suffix == ".safetensors" and source.with_suffix(".json").is_file():
            return str(read_json(source.with_suffix(".json")).get("system", "")).startswith("mPLUG-Owl")
        config = source / "config.json"
        return config.is_file() and read_json(config).get("model_type") == MODEL_TYPE

    def names(self, config: Mapping[str, Any]) -> TensorNames:
        return NAMES

    def read(self, sources: Mapping[str, Path]) -> ImportedCheckpoint:
        """Read a folder, and apply an adapter to it. WeightsError says what is missing."""
        source = sources["source"]
        adapted = (source / "adapter_config.json").is_file()
        folder = sources.get("base") if adapted else source
        if folder is None:
            raise WeightsError(f"{source} only holds an adapter; give sources.base=<the folder it was trained on>")
        layers = TensorLayers(NameTable(NAMES))
        layers.add_folder("base" if adapted else "source", folder)
        said = read_json(folder / "config.json")
        record: dict[str, Any] = {"form": "full", "config": said}
        adapters: dict[str, dict[str, Any]] = {}
        if adapted:
            file, adapter, settings = read_adapter(source)
            layers.add(f"source:{file}", adapter)
            adapters = adapter_settings(layers.names, layers.tensors, settings)
            record = {"form": "lora", "adapter_config": settings}
        config = parts(said, {name: item.tensor for name, item in layers.tensors.items()})
        return ImportedCheckpoint(config, layers.tensors, adapters, folder, record)

    def write(self, folder: Path, request: ExportRequest) -> None:
        """Write the form that the weights came in; ``full`` if they were trained since."""
        folder.mkdir(parents=True, exist_ok=True)
        if request.record.get("form") == "lora":
            write_adapter(folder, request.tensors, request.record["adapter_config"])
            return
        config = request.record.get("config") or official_config(request)
        write_tensors(folder, {name: value for name, value in request.tensors.items() if not is_matrix(name)})
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        for file in sorted(request.tokenizer.iterdir()) if request.tokenizer else ():
            shutil.copyfile(file, folder / file.name)

    def verify(self, recording: Path) -> Iterator[Comparison]:
        return replay.verify(recording)


def parts(said: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return our config of the composition that a config.json and its tensors describe."""
    tower, queries = said.get("vision_config") or {}, said.get("visual_abstractor_config") or {}
    text = said.get("text_config") or {}
    return {
        "encoder": {
            "name": "mplug_owl_vit",
            **{name: tower.get(name, default) for name, default in zip(TOWER, TOWER_DEFAULTS, strict=True)},
            "temporal": any(".temporal." in name for name in tensors),
        },
        "connector": {
            "name": "abstractor",
            "queries": int(tensors["query_tokens"].shape[1]),
            **{
                ours: queries.get(theirs, default)
                for (theirs, ours), default in zip(ABSTRACTOR.items(), ABSTRACTOR_DEFAULTS, strict=True)
            },
            "temporal": "temporal_query_tokens" in tensors,
        },
        "llm": {
            "name": "causal_lm",
            "architecture": {"model_type": "llama", **hf_architecture("llama", text)},
            "source": None,
            "tokenizer": None,
        },
        "processor": {"name": "mplug_owl"},
        "media": {"frames": FRAMES, "sampler": {"name": "mplug_owl"}},
        "chat_template": "plain",
    }


def official_config(request: ExportRequest) -> dict[str, Any]:
    """Return a config.json for a composition of ours. ConfigError if the official code has no such part."""
    config = request.config
    wanted = {"encoder": "mplug_owl_vit", "connector": "abstractor"}
    wrong = [f"{part} {config[part]['name']!r}" for part, name in wanted.items() if config[part]["name"] != name]
    if wrong:
        raise ConfigError(f"the official code has no {' and no '.join(wrong)}; it has mplug_owl_vit and abstractor")
    if config["connector"]["width"] not in (None, config["encoder"]["hidden_size"]):
        raise ConfigError("the official abstractor is as wide as the tower; this connector.width is another")
    if request.hf_config is None or request.hf_config["model_type"] != "llama":
        raise ConfigError("the official code has no other language model than Llama")
    width = config["encoder"]["hidden_size"]
    return {
        "model_type": MODEL_TYPE,
        "architectures": ["MplugOwlForConditionalGeneration"],
        "num_query_tokens": config["connector"]["queries"],
        "text_config": {"model_type": "llama", **hf_old_names(request.hf_config)},
        "vision_config": {"model_type": "mplug_owl_vision_model", **{name: config["encoder"][name] for name in TOWER}},
        "visual_abstractor_config": {
            "model_type": "mplug_owl_visual_abstract",
            "hidden_size": width,
            "encoder_hidden_size": width,
            **{theirs: config["connector"][ours] for theirs, ours in ABSTRACTOR.items()},
        },
    }
