"""The composition that tensors describe; what does not show in them is as released, or as ``sources.sizes`` says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from vlframe import WeightsError, hf_architecture

RELEASED = {"encoder": 16, "connector": 12, "image_size": 224, "lora_alpha": 32}  # attention heads of the two parts
KEYS = {"encoder": "num_attention_heads", "connector": "heads"}
FRAMES = 16  # of questions; 8 in training
TILES = {
    "name": "tiles", "max_tiles": 6, "video_tiles": 6, "overview_of_one": True, "arithmetic": "float",
}  # fmt: skip
IMAGENET = {"training_mean": [0.485, 0.456, 0.406], "training_std": [0.229, 0.224, 0.225]}
PROCESSORS: dict[str, dict[str, Any]] = {  # settings that differ from the defaults, by family
    "llama": {},
    "mistral": {
        "template": "mistral",
        "instruct_question": "never",
        "time_stamps": "never",
        "learn_caption_end": False,
    },
    "phi": {"template": "phi3", "instruct_question": "never", "time_stamps": "questions"},
}
Tensors = Mapping[str, Tensor]
LAYER, BLOCK = "qformer.bert.encoder.layer.", "vision_encoder.encoder.blocks."


def numbers(said: Mapping[str, Any]) -> dict[str, int]:
    """Return the sizes that do not show. WeightsError for one there is none of."""
    unknown = [name for name in said if name not in RELEASED]
    if unknown or not all(isinstance(value, int) and value > 0 for value in said.values()):
        raise WeightsError(f"sources.sizes has {dict(said)!r}; it has whole numbers above 0 for {', '.join(RELEASED)}")
    return RELEASED | dict(said)


def numbers_of(config: Mapping[str, Any]) -> dict[str, int]:
    """Return the same for a composition of ours."""
    found = {part: int(config[part][key]) for part, key in KEYS.items()}
    return RELEASED | found | {"image_size": int(config["encoder"]["image_size"])}


def composition(
    tensors: Tensors, family: str, base: Path, language: Mapping[str, Any], number: Mapping[str, int], *, hd: bool
) -> dict[str, Any]:
    """Return our config of the parts, of the frames and of the texts."""
    model_type = str(language["model_type"])
    return {
        "encoder": {**encoder(tensors, number), "colours": "imagenet" if hd else "clip"},
        "connector": connector(tensors, number["connector"]),
        "llm": {
            "name": "causal_lm",
            "architecture": {"model_type": model_type, **hf_architecture(model_type, language)},
            "source": str(base.resolve()),
        },
        "pixels": TILES if hd else {"name": "centre_crop", **IMAGENET},
        "processor": {"name": "videochat2", **PROCESSORS[family]},
        "media": {"frames": FRAMES, "sampler": {"name": "videochat2"}},
        "chat_template": "plain",
    }


def first_stage(config: Mapping[str, Any], tensors: Tensors, bert: Path) -> dict[str, Any]:
    """Return encoder, connector and media of the first stage: UMT's last block is not run, frames have embeddings, and
    the Q-Former has heads and reads only captions. Its tokenizer is that of the folder, if there is one.
    """
    here = any((bert / name).is_file() for name in ("tokenizer.json", "vocab.txt"))
    return {
        "encoder": {
            **config["encoder"],
            "num_hidden_layers": config["encoder"]["num_hidden_layers"] - 1,
            "frame_embeddings": tensors["vision_temp_embed"].shape[1],
        },
        "connector": {
            **config["connector"],
            "text": False,
            "alignment": tensors["vision_proj.weight"].shape[0],
            "matching": "queries_and_text",
            "caption_tokens": min(32, config["connector"]["positions"]),
            **({"tokenizer": str(bert.resolve())} if here else {}),
        },
        "media": {**config["media"], "frames": tensors["vision_temp_embed"].shape[1]},
    }


def encoder(tensors: Tensors, number: Mapping[str, int]) -> dict[str, Any]:
    projection = tensors["vision_encoder.encoder.patch_embed.proj.weight"]
    return {
        "name": "umt_l",
        "hidden_size": projection.shape[0],
        "intermediate_size": tensors[f"{BLOCK}0.mlp.fc1.weight"].shape[0],
        "num_hidden_layers": len(_numbered(tensors, BLOCK)),
        "num_attention_heads": number["encoder"],
        "image_size": number["image_size"],
        "patch_size": projection.shape[-1],
    }


def connector(tensors: Tensors, heads: int) -> dict[str, Any]:
    layers = _numbered(tensors, LAYER)
    reading = sorted({layer for layer in layers if f"{LAYER}{layer}.crossattention.self.key.weight" in tensors} - {0})
    vocabulary = tensors["qformer.bert.embeddings.word_embeddings.weight"].shape[0]
    positions = tensors["qformer.bert.embeddings.position_embeddings.weight"].shape[0]
    return {
        "name": "qformer_instruct",
        "queries": tensors["query_tokens"].shape[1],
        "extra_queries": tensors["extra_query_tokens"].shape[1],
        "depth": len(layers),
        "cross_attention_frequency": reading[0] if reading else len(layers),
        "width": tensors["query_tokens"].shape[2],
        "heads": heads,
        "intermediate": tensors[f"{LAYER}0.intermediate_query.dense.weight"].shape[0],
        "vocabulary": vocabulary,
        "positions": positions,
        "longest": positions,
    }


def _numbered(tensors: Tensors, prefix: str) -> set[int]:
    """Return the numbers that follow a prefix."""
    return {int(name.removeprefix(prefix).split(".")[0]) for name in tensors if name.startswith(prefix)}
