"""Official tensor names and ours.

The ViT's own file is read under ``visual_encoder``, the language model's under ``opt_model``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vlframe import Repeated, Route, TensorNames

VIT, LLM = "visual_encoder.", "opt_model."
LAYER, OURS = "Qformer.bert.encoder.layer.{n:int}", "qformer.encoder.layer.{n:int}"
WORDS, BIAS = "Qformer.bert.embeddings.word_embeddings.weight", "Qformer.cls.predictions.bias"
CONNECTOR = {
    "query_tokens": "query_tokens",
    "Qformer.bert.embeddings.LayerNorm.{w}": "qformer.embeddings.layernorm.{w}",
    "Qformer.bert.embeddings.word_embeddings.{w}": "qformer.embeddings.word_embeddings.{w}",
    "Qformer.bert.embeddings.position_embeddings.{w}": "qformer.embeddings.position_embeddings.{w}",
    f"{LAYER}.{{rest:path}}": f"{OURS}.{{rest:path}}",
    f"{LAYER}.attention.self.{{rest:path}}": f"{OURS}.attention.attention.{{rest:path}}",
    f"{LAYER}.crossattention.self.{{rest:path}}": f"{OURS}.crossattention.attention.{{rest:path}}",
    "Qformer.cls.predictions.transform.dense.{w}": "heads.word_dense.{w}",
    "Qformer.cls.predictions.transform.LayerNorm.{w}": "heads.word_norm.{w}",
    BIAS: "heads.word_bias",
    "Qformer.cls.predictions.decoder.{w}": "heads.decoder.{w}",  # nothing of its own: see ``repeated``
    "vision_proj.{w}": "heads.vision_proj.{w}",
    "text_proj.{w}": "heads.text_proj.{w}",
    "itm_head.{w}": "heads.itm_head.{w}",
    "temp": "heads.temperature",
    "opt_proj.{w}": "projection.{w}",
}

# What BERT, which the first stage begins with, has beside the Q-Former.
NOT_BEGUN_WITH = ("bert.embeddings.token_type_embeddings", "bert.pooler.dense", "cls.seq_relationship")


def names(depth: int | None = None) -> TensorNames:
    """Return the table. ``depth``: blocks of the composition's ViT; the released file has one more."""
    beyond = () if depth is None else (f"visual_encoder.blocks.{depth}.{{rest:path}}",)
    return TensorNames(
        routes=(
            Route("visual_encoder.{rest:path}", "encoder", "visual_encoder.{rest:path}"),
            Route("ln_vision.{rest:path}", "encoder", "ln_vision.{rest:path}"),
            *(Route(theirs, "connector", ours) for theirs, ours in CONNECTOR.items()),
            Route("opt_model.{rest:path}", "llm", "lm.{rest:path}"),
        ),
        repeated=(
            Repeated("Qformer.cls.predictions.decoder.weight", WORDS),
            Repeated("Qformer.cls.predictions.decoder.bias", BIAS),
            Repeated("opt_model.lm_head.weight", "opt_model.model.decoder.embed_tokens.weight"),
        ),
        unused=(
            *(f"visual_encoder.{name}.{{rest:path}}" for name in ("norm", "fc_norm", "head")),
            *(f"Qformer.{name}.{{w}}" for name in NOT_BEGUN_WITH),
            *beyond,
        ),
        buffers=("Qformer.bert.embeddings.position_ids",),
        wrappers=("module.",),
    )


def names_of(config: Mapping[str, Any]) -> TensorNames:
    """Return the table for a run's config."""
    return names(config["encoder"].get("num_hidden_layers"))
