"""Derive the composition from tensors. What they do not show is that of the release, or of ``sources.sizes``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from vlframe import WeightsError, hf_architecture
from vlframe_videochat.names import LAYER, VIT

RELEASED_BLOCKS = 40  # of eva_vit_g.pth, whose last is not run
FRAMES = 8
COLOURS = {"training_mean": [0.485, 0.456, 0.406], "training_std": [0.229, 0.224, 0.225]}  # ImageNet's
Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Hidden:
    """Sizes that no tensor shows: numbers of attention heads, and whether patches span three frames.

    The ViT's file is for single frames; its patch projection is inflated.
    """

    encoder: int = 16
    connector: int = 12
    halve_frames: bool = False


def hidden(said: Mapping[str, Any]) -> Hidden:
    """Check the content of a file of sizes. WeightsError for anything else."""
    heads = [value for key, value in said.items() if key in ("encoder", "connector")]
    unknown = set(said) - {"encoder", "connector", "halve_frames"}
    counted = all(type(value) is int and value > 0 for value in heads)
    if unknown or not counted or not isinstance(said.get("halve_frames", False), bool):
        raise WeightsError(
            f"sources.sizes has {dict(said)!r}; it has the numbers of attention heads of encoder and connector, above "
            "0, and halve_frames, true or false"
        )
    return Hidden(**said)


def hidden_of(config: Mapping[str, Any]) -> Hidden:
    """Return these sizes of a composition."""
    encoder, connector = config["encoder"], config["connector"]
    return Hidden(int(encoder["num_attention_heads"]), int(connector["heads"]), bool(encoder["halve_frames"]))


def composition(tensors: Tensors, language: Mapping[str, Any], unseen: Hidden) -> dict[str, Any]:
    """Return our config of the parts, the frames and the texts."""
    model_type = str(language.get("model_type", "llama"))
    return {
        "encoder": vit(tensors, unseen),
        "connector": qformer(tensors, unseen.connector),
        "llm": {
            "name": "causal_lm",
            "architecture": {"model_type": model_type, **hf_architecture(model_type, language)},
            "source": None,
            "tokenizer": None,
        },
        "pixels": {"name": "centre_crop", **COLOURS},
        "processor": {"name": "videochat"},
        "media": {"frames": FRAMES, "sampler": {"name": "videochat"}},
        "chat_template": "plain",
    }


def vit(tensors: Tensors, unseen: Hidden) -> dict[str, Any]:
    projection, positions = tensors[f"{VIT}patch_embed.proj.weight"], tensors[f"{VIT}pos_embed"]
    blocks, aggregators = count(tensors, f"{VIT}blocks."), f"{VIT}gmhra."
    local = [f"{VIT}blocks.0.{name}.pos_embed.1.weight" for name in ("lmhra1", "lmhra2")]
    width = int(projection.shape[0])
    narrow = int(tensors[local[0]].shape[0]) if local[0] in tensors else 0
    return {
        "name": "eva_vit_g_mhra",
        "hidden_size": width,
        "intermediate_size": tensors[f"{VIT}blocks.0.mlp.fc1.weight"].shape[0],
        "num_hidden_layers": blocks - 1 if blocks == RELEASED_BLOCKS else blocks,
        "num_attention_heads": unseen.encoder,
        "image_size": round((positions.shape[1] - 1) ** 0.5) * projection.shape[-1],
        "patch_size": projection.shape[-1],
        "global_layers": count(tensors, aggregators),
        "global_intermediate": tensors[f"{aggregators}0.mlp.c_fc.weight"].shape[0],
        "local": ("none", "single", "double")[sum(name in tensors for name in local)],
        "local_reduction": reduction(width, narrow) if narrow else 2.0,
        "halve_frames": projection.shape[2] == 3,
    }


def qformer(tensors: Tensors, heads: int) -> dict[str, Any]:
    _, queries, width = tensors["query_tokens"].shape
    reading = {number(name) for name in tensors if name.startswith(LAYER) and ".crossattention." in name}
    depth = count(tensors, LAYER)
    return {
        "name": "qformer_extra",
        "queries": queries,
        "extra_queries": tensors["extra_query_tokens"].shape[1],
        "depth": depth,
        "cross_attention_frequency": min(reading - {0}, default=depth),
        "width": width,
        "heads": heads,
        "intermediate": tensors[f"{LAYER}0.intermediate_query.dense.weight"].shape[0],
    }


def reduction(width: int, narrow: int) -> float:
    """Return a divisor of ``width`` whose quotient, rounded down, is ``narrow``."""
    plain = width / narrow
    return plain if int(width // plain) == narrow else width / (narrow + 0.5)


def count(tensors: Tensors, prefix: str) -> int:
    """Count the numbers that follow a prefix."""
    return len({name.removeprefix(prefix).split(".")[0] for name in tensors if name.startswith(prefix)})


def number(name: str) -> int:
    """Return the number of a Q-Former's layer from the name of a tensor in it."""
    return int(name.removeprefix(LAYER).split(".")[0])
