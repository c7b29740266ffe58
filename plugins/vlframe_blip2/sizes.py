"""The composition that tensors describe; what does not show in them is as released, or as ``sources.sizes`` says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from vlframe import WeightsError, hf_architecture

RELEASED = {"encoder": 16, "connector": 12}  # attention heads
RELEASED_BLOCKS = 40  # of the ViT's file; the last is not run
Tensors = Mapping[str, Tensor]
LAYER, BLOCK = "Qformer.bert.encoder.layer.", "visual_encoder.blocks."


def heads(said: Mapping[str, Any]) -> dict[str, int]:
    """Return the numbers of heads. WeightsError for a part there is none of."""
    if set(said) - set(RELEASED) or not all(isinstance(value, int) and value > 0 for value in said.values()):
        raise WeightsError(f"sources.sizes has {dict(said)!r}; it has whole numbers above 0 for {', '.join(RELEASED)}")
    return RELEASED | dict(said)


def composition(tensors: Tensors, base: Path, language: Mapping[str, Any], number: Mapping[str, int]) -> dict[str, Any]:
    """Return our config of the parts; one picture is one frame."""
    model_type = str(language["model_type"])
    return {
        "encoder": encoder(tensors, number["encoder"]),
        "connector": connector(tensors, number["connector"]),
        "llm": {
            "name": "causal_lm",
            "architecture": {"model_type": model_type, **hf_architecture(model_type, language)},
            "source": str(base.resolve()),
        },
        "media": {"frames": 1},
        "chat_template": "plain",
    }


def encoder(tensors: Tensors, number: int) -> dict[str, Any]:
    projection, positions = tensors["visual_encoder.patch_embed.proj.weight"], tensors["visual_encoder.pos_embed"]
    blocks = len(_numbered(tensors, BLOCK))
    side = int((positions.shape[1] - 1) ** 0.5)
    return {
        "name": "eva_vit_g",
        "hidden_size": projection.shape[0],
        "intermediate_size": tensors[f"{BLOCK}0.mlp.fc1.weight"].shape[0],
        "num_hidden_layers": blocks - 1 if blocks == RELEASED_BLOCKS else blocks,
        "num_attention_heads": number,
        "image_size": side * projection.shape[-1],
        "patch_size": projection.shape[-1],
        "resize": "squash",
    }


def connector(tensors: Tensors, number: int) -> dict[str, Any]:
    layers = _numbered(tensors, LAYER)
    reading = sorted({layer for layer in layers if f"{LAYER}{layer}.crossattention.self.key.weight" in tensors} - {0})
    vocabulary = tensors["Qformer.bert.embeddings.word_embeddings.weight"].shape[0]
    positions = tensors["Qformer.bert.embeddings.position_embeddings.weight"].shape[0]
    return {
        "name": "qformer_instruct",
        "queries": tensors["query_tokens"].shape[1],
        "extra_queries": 0,
        "depth": len(layers),
        "cross_attention_frequency": reading[0] if reading else len(layers),
        "width": tensors["query_tokens"].shape[2],
        "heads": number,
        "intermediate": tensors[f"{LAYER}0.intermediate_query.dense.weight"].shape[0],
        "drop_path": 0.0,
        "text": False,
        "vocabulary": vocabulary,
        "positions": positions,
        "longest": positions,
        "alignment": tensors["vision_proj.weight"].shape[0],
        "caption_tokens": min(32, positions),
    }


def tokenizer_of(bert: Path) -> dict[str, Any]:
    """Return the connector's tokenizer: BERT's own, if its folder has one."""
    here = any((bert / name).is_file() for name in ("tokenizer.json", "vocab.txt"))
    return {"tokenizer": str(bert.resolve())} if here else {}


def _numbered(tensors: Tensors, prefix: str) -> set[int]:
    """Return the numbers that follow a prefix."""
    return {int(name.removeprefix(prefix).split(".")[0]) for name in tensors if name.startswith(prefix)}
