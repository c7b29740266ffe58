"""What an official config.json says, in our parts and parameters; and back.

Source: videollama2/model/*.py of the official repository (the Videollama2*Config classes and the builders of tower,
projector and audio tower).
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import CONFIG_MAPPING

from vlframe import ConfigError, WeightsError, preset_of_source
from vlframe_videollama2.files import read_json

FAMILIES = {  # model_type there: (model_type of the language model, class there)
    "videollama2_mistral": ("mistral", "Videollama2MistralForCausalLM"),
    "videollama2_mixtral": ("mixtral", "Videollama2MixtralForCausalLM"),
    "videollama2_qwen2": ("qwen2", "Videollama2Qwen2ForCausalLM"),
    "videollama2_llama": ("llama", "Videollama2LlamaForCausalLM"),
}
TEMPLATES = {"mistral": "mistral_instruct", "mixtral": "mistral_instruct", "qwen2": "chatml"}
CONNECTORS = {
    "linear": {"name": "linear"},
    "stc_connector": {"name": "stc"},
    "stc_connector_v35": {"name": "stc_v35"},
    "stp_connector": {"name": "stp"},
    "spatial_conv": {"name": "spatial_conv"},
    "spatial_pool": {"name": "spatial_pool"},
}
RESIZED = {"hidden": None, "squeeze_ratio": 0.25, "mlp_depth": 2}
FIXED = {  # what the official code has no setting for
    "stc": {"depth": 4, "stride": [2, 2, 2], "padding": 1, "sampler": "conv", **RESIZED},
    "stc_v35": {"depth": 4, "stride": [2, 2, 2], "padding": 0, "sampler": "conv", **RESIZED},
    "stp": {"depth": 4, "stride": [2, 2, 2], "padding": 0, "sampler": "average", **RESIZED},
    "spatial_conv": {"depth": 0, "stride": [1, 2, 2], "padding": 1, "sampler": "conv", **RESIZED},
    "spatial_pool": {"depth": 0, "stride": [1, 2, 2], "padding": 0, "sampler": "average", **RESIZED},
    "mlp": {"hidden": None},
}
MLP = re.compile(r"mlp(\d+)x_gelu")
TOWERS = {"clip_vision_model": "clip", "siglip_vision_model": "siglip"}
BEATS = (  # fields of BEATs' own cfg that the audio encoder takes under the same names
    "input_patch_size", "embed_dim", "conv_bias", "encoder_layers", "encoder_embed_dim", "encoder_ffn_embed_dim",
    "encoder_attention_heads", "conv_pos", "conv_pos_groups", "relative_position_embedding", "num_buckets",
    "max_distance", "gru_rel_pos", "deep_norm", "dropout_input", "dropout", "attention_dropout", "activation_dropout",
    "encoder_layerdrop", "layer_wise_gradient_decay_ratio",
)  # fmt: skip
# Fields of every transformers config that describe a file or a way of running, not an architecture.
GENERIC = {
    "_name_or_path", "architectures", "chunk_size_feed_forward", "dtype", "id2label", "is_encoder_decoder", "label2id",
    "model_type", "output_attentions", "output_hidden_states", "problem_type", "return_dict", "torch_dtype",
    "transformers_version", "use_cache", "pad_token_id", "pretraining_tp", "output_router_logits",
}  # fmt: skip


# The transformers of the official code lets a token see this many more before it than sliding_window says (its mask
# begins at i - window, eager, sdpa and flash alike); transformers 5 counts the token itself.
WINDOW = 1


def _window(size: int | None, more: int) -> int | None:
    return None if size is None else size + more


def language_model(official: Mapping[str, Any]) -> dict[str, Any]:
    """The ``architecture`` of llm ``causal_lm``."""
    kind = str(official.get("model_type"))
    if kind not in FAMILIES:
        raise WeightsError(f"model_type is {kind!r}; the official ones are {', '.join(FAMILIES)}")
    family = FAMILIES[kind][0]
    standard = CONFIG_MAPPING[family]().to_dict()
    known = (standard.keys() | {"rope_theta", "rope_scaling"}) - GENERIC
    if family == "qwen2":
        known -= {"layer_types"}
    fields = {name: official[name] for name in sorted(known & official.keys()) if official[name] is not None}
    if "sliding_window" in official:
        fields["sliding_window"] = _window(official["sliding_window"], WINDOW)
    return {"model_type": family, **fields}


def connector(kind: str, what: str) -> dict[str, Any]:
    if kind in CONNECTORS:
        return dict(CONNECTORS[kind])
    if match := MLP.fullmatch(kind):
        return {"name": "mlp", "depth": int(match.group(1))}
    raise WeightsError(f"{what} is {kind!r}; the official ones are mlp<number>x_gelu, {', '.join(CONNECTORS)}")


def connector_type(config: Mapping[str, Any]) -> str:
    """The official name of a connector of ours."""
    name = config["name"]
    if name == "mlp":
        return f"mlp{config['depth']}x_gelu"
    kind = next((kind for kind, ours in CONNECTORS.items() if ours["name"] == name), None)
    if kind is None:
        names = ["mlp", *(ours["name"] for ours in CONNECTORS.values())]
        raise ConfigError(f"the official code has no connector {name!r}; it has {', '.join(names)}")
    fixed = FIXED.get(name, {})
    wrong = {key: config[key] for key, value in fixed.items() if config[key] != value}
    if wrong:
        raise ConfigError(
            f"the official code builds {kind} with {fixed} and this connector has {wrong}; what it wrote could "
            "not be read there"
        )
    return kind


def encoder(official: Mapping[str, Any], source: Path, given: str | None) -> dict[str, Any]:
    """The tower that ``mm_vision_tower`` names: described by a folder, or by a preset of the same source."""
    named = official.get("mm_vision_tower") or official.get("vision_tower")
    if not named:
        raise WeightsError(f"{source}: config.json names no mm_vision_tower")
    place = given or str(named)
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
                "preset, so its size is not known; give a folder with its config.json (vision=<folder>)"
            )
        return {**preset, **settings, "source": place}
    config = read_json(folder / "config.json")
    config = config.get("vision_config", config)
    kind = str(config.get("model_type"))
    if kind not in TOWERS:
        raise WeightsError(f"{folder}: model_type is {kind!r}; vision towers are {', '.join(TOWERS)}")
    standard = CONFIG_MAPPING[kind]().to_dict()
    fields = {name: config[name] for name in standard if name in config and name not in GENERIC}
    holds = any(folder.glob("*.safetensors")) or any(folder.glob("*.bin"))
    return {
        "name": TOWERS[kind],
        **settings,
        "architecture": fields,
        "source": str(folder.resolve()) if holds else None,
    }


def official_config(config: Mapping[str, Any], llm: Mapping[str, Any]) -> dict[str, Any]:
    """A config.json for a composition of ours. ``llm`` is the transformers config of its language model."""
    family = str(llm["model_type"])
    kind = next((kind for kind, (name, _) in FAMILIES.items() if name == family), None)
    if kind is None:
        families = ", ".join(family for family, _ in FAMILIES.values())
        raise ConfigError(f"the official code has no language model of the family {family!r}; it has {families}")
    if config["encoder"]["name"] not in TOWERS.values():
        raise ConfigError(f"the official code has no encoder {config['encoder']['name']!r}; it has clip and siglip")
    written = {name: value for name, value in llm.items() if name not in GENERIC and name != "rope_parameters"}
    if "sliding_window" in written:
        written["sliding_window"] = _window(written["sliding_window"], -WINDOW)
    rope = dict(llm.get("rope_parameters") or {})
    written["rope_theta"] = rope.pop("rope_theta", 10000.0)
    if rope.get("rope_type", "default") != "default":
        written["rope_scaling"] = rope
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
