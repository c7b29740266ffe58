"""Official tensor names and ours.

Files of one module only are read under the name that the official model gives it. The three models call their language
model and the projection before it after the family: ``llama``, ``mistral``, ``phi``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vlframe import Concatenated, ConfigError, Fused, Route, TensorNames

# Family, by the model_type of transformers' config.
FAMILIES = {"llama": "llama", "mistral": "mistral", "phi3": "phi"}
BLOCK, LAYER = "vision_encoder.encoder.blocks.{n:int}", "encoder.layer.{n:int}"
BERT, QFORMER = "qformer.bert.encoder.layer.{n:int}", "qformer.encoder.layer.{n:int}"

ENCODER = {
    "vision_encoder.encoder.patch_embed.proj.{w}": "projection.{w}",
    f"{BLOCK}.norm1.{{w}}": f"{LAYER}.layernorm_before.{{w}}",
    f"{BLOCK}.norm2.{{w}}": f"{LAYER}.layernorm_after.{{w}}",
    f"{BLOCK}.attn.q_bias": f"{LAYER}.attention.attention.query.bias",
    f"{BLOCK}.attn.v_bias": f"{LAYER}.attention.attention.value.bias",
    f"{BLOCK}.attn.proj.{{w}}": f"{LAYER}.attention.output.dense.{{w}}",
    f"{BLOCK}.mlp.fc1.{{w}}": f"{LAYER}.intermediate.dense.{{w}}",
    f"{BLOCK}.mlp.fc2.{{w}}": f"{LAYER}.output.dense.{{w}}",
    "vision_layernorm.{w}": "vision_layernorm.{w}",
}
QKV = Fused(
    "encoder",
    tuple(f"{LAYER}.attention.attention.{name}.weight" for name in ("query", "key", "value")),
    f"{BLOCK}.attn.qkv.weight",
    Concatenated(),
    whole_is_theirs=True,
)
CONNECTOR = {
    "query_tokens": "query_tokens",
    "extra_query_tokens": "extra_query_tokens",
    "qformer.bert.embeddings.LayerNorm.{w}": "qformer.embeddings.layernorm.{w}",
    "qformer.bert.embeddings.word_embeddings.{w}": "qformer.embeddings.word_embeddings.{w}",
    "qformer.bert.embeddings.position_embeddings.{w}": "qformer.embeddings.position_embeddings.{w}",
    f"{BERT}.{{rest:path}}": f"{QFORMER}.{{rest:path}}",
    f"{BERT}.attention.self.{{rest:path}}": f"{QFORMER}.attention.attention.{{rest:path}}",
    f"{BERT}.crossattention.self.{{rest:path}}": f"{QFORMER}.crossattention.attention.{{rest:path}}",
}
HEADS = {
    "vision_proj.{w}": "heads.vision_proj.{w}",
    "text_proj.{w}": "heads.text_proj.{w}",
    "itm_head.{w}": "heads.itm_head.{w}",
    "temp": "heads.temperature",
    "qformer.cls.predictions.transform.dense.{w}": "heads.word_dense.{w}",
    "qformer.cls.predictions.transform.LayerNorm.{w}": "heads.word_norm.{w}",
    "qformer.cls.predictions.bias": "heads.word_bias",
}
TIED = ("qformer.cls.predictions.decoder.{w}",)  # the embeddings of words, and the bias above, once more
MATRICES = ("lora_A.default.weight", "lora_B.default.weight")
# What the files that the first stage begins with have beside it: UMT's own, of which the encoder has its prefix and all
# else ``umt.``, and BERT's.
NOT_BEGUN_WITH = (
    "vision_encoder.encoder.norm.{w}", "vision_encoder.clip_decoder.{n:int}.{rest:path}",
    "vision_encoder.pool_norm.{w}", "umt.text_encoder.{rest:path}", "umt.clip_teacher.{rest:path}",
    "umt.vision_proj.{w}", "umt.text_proj.{w}", "umt.itm_head.{w}", "umt.temp",
    "qformer.bert.embeddings.token_type_embeddings.{w}", "qformer.bert.pooler.dense.{w}",
    "qformer.cls.seq_relationship.{w}",
)  # fmt: skip
# What the first stage, which aligns the Q-Former with texts, has beside it.
NOT_RUN = (
    "qformer.cls.{rest:path}", "vision_temp_embed", "vision_proj.{w}", "text_proj.{w}", "itm_head.{w}", "temp",
)  # fmt: skip


def names(family: str, *, first_stage: bool = False, depth: int | None = None) -> TensorNames:
    """Return the table of one of the three models. A file of it has low-rank adapters of its language model, and no
    more. ``first_stage``: with what only that stage has, which later ones do not run; ``depth`` are then the encoder's
    blocks: UMT's own file has one more, which is not run.
    """
    beyond = () if depth is None else (f"vision_encoder.encoder.blocks.{depth}.{{rest:path}}",)
    first = {"vision_temp_embed": ("encoder", "frame_embedding")} | {
        key: ("connector", to) for key, to in HEADS.items()
    }
    adapted = f"{family}_model.base_model.model.{{place:path}}"
    return TensorNames(
        routes=(
            *(Route(theirs, "encoder", ours) for theirs, ours in ENCODER.items()),
            *(Route(theirs, "connector", ours) for theirs, ours in CONNECTOR.items()),
            *(Route(theirs, part, ours) for theirs, (part, ours) in first.items() if first_stage),
            Route(f"{family}_proj.{{w}}", "connector", "projection.{w}"),
            *(Route(f"{adapted}.{tail}", "llm", f"lm.{{place:path}}.{tail}") for tail in MATRICES),
            Route(f"{family}_model.{{rest:path}}", "llm", "lm.{rest:path}"),
        ),
        fused=(QKV,),
        unused=(*TIED, *NOT_BEGUN_WITH, *beyond) if first_stage else NOT_RUN,
        buffers=("qformer.bert.embeddings.position_ids", f"{family}_model.{{rest:path}}.rotary_emb.inv_freq"),
        wrappers=("module.",),
    )  # fmt: skip


def family_of(model_type: str) -> str:
    """Return the family of a language model. ConfigError for one that the official code has no class for."""
    if model_type not in FAMILIES:
        raise ConfigError(
            f"VideoChat2 has language models of the types {', '.join(FAMILIES)}, and this is {model_type!r}"
        )
    return FAMILIES[model_type]


def names_of(config: Mapping[str, Any]) -> TensorNames:
    """Return the table for a run's config."""
    family = family_of(str(config["llm"]["architecture"].get("model_type")))
    first_stage = config["connector"].get("alignment") is not None
    depth = config["encoder"].get("num_hidden_layers") if first_stage else None
    return names(family, first_stage=first_stage, depth=depth)
