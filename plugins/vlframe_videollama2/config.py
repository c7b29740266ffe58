"""Translate an official config.json to our parts and parameters, and back.

Source: videollama2/model/*.py of the official repository (the Videollama2*Config classes and the builders of tower,
projector and audio tower).
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vlframe import (
    ConfigError,
    WeightsError,
    default_parameters,
    hf_architecture,
    hf_old_names,
    preset_of_source,
    read_json,
)

FAMILIES = {  # model_type there: (model_type of the language model, class there)
    "videollama2_mistral": ("mistral", "Videollama2MistralForCausalLM"),
    "videollama2_mixtral": ("mixtral", "Videollama2MixtralForCausalLM"),
    "videollama2_qwen2": ("qwen2", "Videollama2Qwen2ForCausalLM"),
    "videollama2_llama": ("llama", "Videollama2LlamaForCausalLM"),
}
TEMPLATES = {"mistral": "mistral_instruct", "mixtral": "mistral_instruct", "qwen2": "chatml"}
CONNECTORS = {  # official name: ours
    "linear": "linear",
    "stc_connector": "stc",
    "stc_connector_v35": "stc_v35",
    "stp_connector": "stp",
    "spatial_conv": "spatial_conv",
    "spatial_pool": "spatial_pool",
}
MLP = re.compile(r"mlp(\d+)x_gelu")
TOWERS = {"clip_vision_model": "clip", "siglip_vision_model": "siglip"}
NOT_BEATS = ("source", "seconds", "pad")  # the audio encoder's parameters that are no fields of BEATs' own cfg
# transformers in the official code lets a token attend to this many more before it than sliding_window says (its mask
# begins at i - window, in eager, sdpa and flash alike); transformers 5 counts the token itself.
WINDOW = 1


def folder_of(source: Path) -> Path:
    """Return an official folder, given itself or one of its files."""
    return source if source.is_dir() else source.parent


def is_official(source: Path) -> bool:
    """Return whether the config.json of a folder, or the description beside a recording, names an official model."""
    about = source.with_suffix(".json")
    beside = read_json(about).get("config") if source.suffix == ".safetensors" and about.is_file() else None
    config = folder_of(source) / "config.json"
    said = beside or (read_json(config) if config.is_file() else {})
    return isinstance(said, dict) and said.get("model_type") in FAMILIES


def _window(size: int | None, more: int) -> int | None:
    return None if size is None else size + more


def language_model(official: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ``architecture`` of llm ``causal_lm``."""
    kind = str(official.get("model_type"))
    if kind not in FAMILIES:
        raise WeightsError(f"model_type is {kind!r}; the official ones are {', '.join(FAMILIES)}")
    family = FAMILIES[kind][0]
    fields = hf_architecture(family, official)
    if family == "qwen2":
        fields.pop("layer_types", None)
    if "sliding_window" in official:
        fields["sliding_window"] = _window(official["sliding_window"], WINDOW)
    return {"model_type": family, **fields}


def connector(kind: str, what: str) -> dict[str, Any]:
    if kind in CONNECTORS:
        return {"name": CONNECTORS[kind]}
    if match := MLP.fullmatch(kind):
        return {"name": "mlp", "depth": int(match.group(1))}
    raise WeightsError(f"{what} is {kind!r}; the official ones are mlp<number>x_gelu, {', '.join(CONNECTORS)}")


def connector_type(config: Mapping[str, Any]) -> str:
    """Return the official name of a connector of ours. ConfigError if it has none, or means something else there."""
    name, free = config["name"], ""
    if name == "mlp":
        kind, free = f"mlp{config['depth']}x_gelu", "depth"
    elif name in CONNECTORS.values():
        kind = next(kind for kind, ours in CONNECTORS.items() if ours == name)
    else:
        raise ConfigError(
            f"the official code has no connector {name!r}; it has {', '.join(['mlp', *CONNECTORS.values()])}"
        )
    fixed = {key: value for key, value in default_parameters("connector", name).items() if key != free}
    wrong = {key: config[key] for key, value in fixed.items() if config[key] != value}
    if wrong:
        raise ConfigError(
            f"the official code builds {kind} with {fixed} and this connector has {wrong}; what it wrote could "
            "not be read there"
        )
    return kind


def audio_encoder(cfg: Mapping[str, Any] | None, where: str) -> dict[str, Any]:
    """Return the audio encoder that BEATs' own ``cfg`` describes; its fields have the same names."""
    if cfg is None:
        raise WeightsError(
            f"{where} has an audio tower and no BEATs file with its cfg, so its shape is not known; give "
            "sources.audio=<BEATs .pt>"
        )
    known = default_parameters("audio_encoder", "beats").keys() - {*NOT_BEATS}
    return {"name": "beats", **{name: cfg[name] for name in sorted(known & cfg.keys())}, "source": None}


def beats_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return BEATs' ``cfg`` for an audio encoder of ours."""
    return {name: value for name, value in config.items() if name not in ("name", *NOT_BEATS)}


def tower_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config.json of a vision tower of ours."""
    kind = next(kind for kind, name in TOWERS.items() if name == config["name"])
    return {"model_type": kind, **config["architecture"]}


def encoder(official: Mapping[str, Any], source: Path, given: Path | None) -> dict[str, Any]:
    """Return the tower that ``mm_vision_tower`` names, described by a folder, or by a preset with the same source."""
    named = official.get("mm_vision_tower") or official.get("vision_tower")
    if not named:
        raise WeightsError(f"{source}: config.json names no mm_vision_tower")
    place = str(given or named)
    settings = {
        "layer": official.get("mm_vision_select_layer", -1),
        "select": official.get("mm_vision_select_feature", "patch"),
    }
    folder = next((path for path in (Path(place), source / place) if path.is_dir()), None)
    if folder is None:
        preset = preset_of_source("encoder", place)
        if preset is None:
            raise WeightsError(
                f"{source}: the vision tower is {place!r}, which is neither a folder nor the source of an encoder "
                "preset, so its size is not known; give a folder with its config.json (sources.vision=<folder>)"
            )
        return {**preset, **settings, "source": place}
    config = read_json(folder / "config.json")
    config = config.get("vision_config", config)
    kind = str(config.get("model_type"))
    if kind not in TOWERS:
        raise WeightsError(f"{folder}: model_type is {kind!r}; vision towers are {', '.join(TOWERS)}")
    holds = any(folder.glob("*.safetensors")) or any(folder.glob("*.bin"))
    return {
        "name": TOWERS[kind],
        **settings,
        "architecture": hf_architecture(kind, config),
        "source": str(folder.resolve()) if holds else None,
    }


def official_config(config: Mapping[str, Any], llm: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a config.json for a composition of ours. ``llm`` is the transformers config of its language model."""
    if llm is None:
        raise ConfigError(
            f"llm {config['llm']['name']!r} is no language model of transformers; the official code has no other"
        )
    family = str(llm["model_type"])
    kind = next((kind for kind, (name, _) in FAMILIES.items() if name == family), None)
    if kind is None:
        families = ", ".join(family for family, _ in FAMILIES.values())
        raise ConfigError(f"the official code has no language model of the family {family!r}; it has {families}")
    if config["encoder"]["name"] not in TOWERS.values():
        raise ConfigError(f"the official code has no encoder {config['encoder']['name']!r}; it has clip and siglip")
    written = hf_old_names(llm)
    if "sliding_window" in written:
        written["sliding_window"] = _window(written["sliding_window"], -WINDOW)
    written |= {
        "model_type": kind,
        "architectures": [FAMILIES[kind][1]],
        "mm_vision_tower": config["encoder"]["source"] or "vision_tower",
        "mm_vision_select_layer": config["encoder"]["layer"],
        "mm_vision_select_feature": config["encoder"]["select"],
        "mm_hidden_size": config["encoder"]["architecture"].get("hidden_size"),
        "mm_projector_type": connector_type(config["connector"]),
        "use_mm_proj": True,
        "num_frames": config["media"]["frames"],
    }
    if config["audio_encoder"] is not None:
        if config["audio_encoder"]["name"] != "beats":
            raise ConfigError(
                f"the official code has no audio encoder {config['audio_encoder']['name']!r}; it has beats"
            )
        written |= {
            "mm_audio_tower": "audio_tower.bin",
            "mm_projector_a_type": connector_type(config["audio_connector"]),
            "mm_hidden_size_a": config["audio_encoder"]["encoder_embed_dim"],
            "hidden_size_a": llm["hidden_size"],
        }
    return written
