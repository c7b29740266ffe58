"""Derive the composition from tensors. They do not show numbers of attention heads; those of the releases are taken."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from vlframe import WeightsError, hf_architecture

RELEASED = {"encoder": 16, "connector": 12, "audio_encoder": 12}  # heads; the audio Q-Former has the connector's
KEYS = {"encoder": "num_attention_heads", "connector": "heads", "audio_encoder": "num_attention_heads"}
RELEASED_BLOCKS = 40  # of eva_vit_g.pth, whose last is not run
FRAMES = 8
Tensors = Mapping[str, Tensor]


def heads(said: Mapping[str, Any]) -> dict[str, int]:
    """Return the numbers of heads by part. WeightsError for a part that does not exist."""
    unknown = [part for part in said if part not in RELEASED]
    if unknown or not all(isinstance(value, int) and value > 0 for value in said.values()):
        raise WeightsError(f"sources.sizes has {dict(said)!r}; it has numbers of heads for {', '.join(RELEASED)}")
    return RELEASED | dict(said)


def numbers(config: Mapping[str, Any]) -> dict[str, int]:
    """Return a composition's numbers of heads by part."""
    return RELEASED | {part: int(config[part][key]) for part, key in KEYS.items() if config.get(part)}


def composition(
    tensors: Tensors, language: Mapping[str, Any], number: Mapping[str, int], *, through_vision: bool
) -> dict[str, Any]:
    """Return our config of the parts, and of the frames."""
    model_type = str(language.get("model_type", "llama"))
    config: dict[str, Any] = {
        "llm": {
            "name": "causal_lm",
            "architecture": {"model_type": model_type, **hf_architecture(model_type, language)},
            "source": None,
            "tokenizer": None,
        },
        "media": {"frames": FRAMES, "sampler": {"name": "videollama"}},
        "chat_template": "plain",
    }
    if through_vision:
        config["encoder"] = imagebind_vision(tensors, number["encoder"])
        config["connector"] = audio_qformer(tensors, number["connector"])
        return config
    config["encoder"] = vit(tensors, number["encoder"])
    config["connector"] = video_qformer(tensors, number["connector"])
    if "audio_query_tokens" in tensors:
        config["audio_encoder"] = imagebind_audio(tensors, number["audio_encoder"])
        config["audio_connector"] = audio_qformer(tensors, number["connector"])
        config["audio_encoder"]["clips"] = config["audio_connector"]["max_steps"]
    return config


def vit(tensors: Tensors, number: int) -> dict[str, Any]:
    projection, positions = tensors["visual_encoder.patch_embed.proj.weight"], tensors["visual_encoder.pos_embed"]
    blocks = _count(tensors, "visual_encoder.blocks.")
    return {
        "name": "eva_vit_g",
        "hidden_size": projection.shape[0],
        "intermediate_size": tensors["visual_encoder.blocks.0.mlp.fc1.weight"].shape[0],
        "num_hidden_layers": blocks - 1 if blocks == RELEASED_BLOCKS else blocks,
        "num_attention_heads": number,
        "image_size": _side(positions) * projection.shape[-1],
        "patch_size": projection.shape[-1],
        "resize": "squash",
    }


def imagebind_vision(tensors: Tensors, number: int) -> dict[str, Any]:
    head = "audio_encoder.modality_preprocessors.vision."
    projection = tensors[f"{head}rgbt_stem.proj.1.weight"]
    return {
        "name": "imagebind_vision",
        **_trunk(tensors, "vision", number),
        "image_size": _side(tensors[f"{head}pos_embedding_helper.pos_embed"]) * projection.shape[-1],
        "patch_size": projection.shape[-1],
        "resize": "squash",
    }


def imagebind_audio(tensors: Tensors, number: int) -> dict[str, Any]:
    projection = tensors["audio_encoder.modality_preprocessors.audio.rgbt_stem.proj.weight"]
    return {"name": "imagebind_audio", **_trunk(tensors, "audio", number), "patch_size": projection.shape[-1]}


def video_qformer(tensors: Tensors, number: int) -> dict[str, Any]:
    _, queries, width = tensors["query_tokens"].shape
    return {
        "name": "video_qformer",
        "queries": queries,
        "depth": _count(tensors, "Qformer.bert.encoder.layer."),
        "cross_attention_frequency": _frequency(tensors, "Qformer.bert.encoder.layer."),
        "video_queries": tensors["video_query_tokens"].shape[1],
        "video_depth": _count(tensors, "video_Qformer.bert.encoder.layer."),
        "width": width,
        "heads": number,
        "intermediate": tensors["Qformer.bert.encoder.layer.0.intermediate_query.dense.weight"].shape[0],
        "max_frames": tensors["video_frame_position_embedding.weight"].shape[0],
    }


def audio_qformer(tensors: Tensors, number: int) -> dict[str, Any]:
    _, queries, width = tensors["audio_query_tokens"].shape
    return {
        "name": "audio_qformer",
        "queries": queries,
        "depth": _count(tensors, "audio_Qformer.bert.encoder.layer."),
        "width": width,
        "heads": number,
        "intermediate": tensors["audio_Qformer.bert.encoder.layer.0.intermediate_query.dense.weight"].shape[0],
        "max_steps": tensors["audio_position_embedding.weight"].shape[0],
    }


def _trunk(tensors: Tensors, modality: str, number: int) -> dict[str, Any]:
    blocks, head = f"audio_encoder.modality_trunks.{modality}.blocks.", f"audio_encoder.modality_heads.{modality}.2"
    intermediate, width = tensors[f"{blocks}0.mlp.fc1.weight"].shape
    return {
        "hidden_size": width,
        "intermediate_size": intermediate,
        "num_hidden_layers": _count(tensors, blocks),
        "num_attention_heads": number,
        "embed_dim": tensors[f"{head}.weight"].shape[0],
    }


def _count(tensors: Tensors, prefix: str) -> int:
    """Count the numbers that follow a prefix."""
    return len({name.removeprefix(prefix).split(".")[0] for name in tensors if name.startswith(prefix)})


def _frequency(tensors: Tensors, prefix: str) -> int:
    """Return the distance between the layers with cross-attention, counted from the first."""
    found = {
        int(name.removeprefix(prefix).split(".")[0])
        for name in tensors
        if name.startswith(prefix) and ".crossattention." in name
    }
    return min(found - {0}, default=_count(tensors, prefix))


def _side(positions_1PD: Tensor) -> int:
    """Return the patches along a side; the class token has a position too."""
    return round((positions_1PD.shape[1] - 1) ** 0.5)
