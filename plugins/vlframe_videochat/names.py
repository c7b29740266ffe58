"""Official tensor names and ours.

Files with only one module are read under its name in the official model: the ViT under ``visual_encoder``, the language
model under ``llama_model``.
"""

from collections.abc import Mapping
from typing import Any

from vlframe import Route, TensorNames

VIT, LLM, LAYER = "visual_encoder.", "llama_model.", "Qformer.bert.encoder.layer."
QFORMER = {
    "attention.self": "attention.attention",
    "attention.output": "attention.output",
    "crossattention.self": "crossattention.attention",
    "crossattention.output": "crossattention.output",
    "intermediate_query": "intermediate_query",
    "output_query": "output_query",
}
ROUTES = (
    Route("visual_encoder.{rest:path}", "encoder", "visual_encoder.{rest:path}"),
    Route("ln_vision.{rest:path}", "encoder", "ln_vision.{rest:path}"),
    Route("query_tokens", "connector", "query_tokens"),
    Route("extra_query_tokens", "connector", "extra_query_tokens"),
    Route("Qformer.bert.embeddings.LayerNorm.{rest:path}", "connector", "qformer.layernorm.{rest:path}"),
    *(
        Route(f"{LAYER}{{n:int}}.{a}.{{rest:path}}", "connector", f"qformer.encoder.layer.{{n:int}}.{b}.{{rest:path}}")
        for a, b in QFORMER.items()
    ),
    Route("llama_proj.{rest:path}", "connector", "projection.{rest:path}"),
    Route("llama_model.{rest:path}", "llm", "lm.{rest:path}"),
)
NOT_RUN = (  # other tensors in the files: BLIP-2's own projections and text path, the ViT's head
    "t5_proj.{rest:path}",
    "opt_proj.{rest:path}",
    "Qformer.cls.{rest:path}",
    "Qformer.bert.embeddings.word_embeddings.{rest:path}",
    "Qformer.bert.embeddings.position_embeddings.{rest:path}",
    f"{LAYER}{{n:int}}.intermediate.{{rest:path}}",
    f"{LAYER}{{n:int}}.output.{{rest:path}}",
    *(f"visual_encoder.{name}.{{rest:path}}" for name in ("norm", "fc_norm", "head")),
)
BUFFERS = ("Qformer.bert.embeddings.position_ids", "llama_model.{rest:path}.rotary_emb.inv_freq")


def is_saved(name: str) -> bool:
    """Return whether the official training trains, and so saves, a tensor."""
    within = name.startswith(VIT) and "mhra" in name
    return within or name.startswith(("ln_vision.", "extra_query_tokens", "llama_proj."))


def names(depth: int | None = None) -> TensorNames:
    """Return the table. ``depth``: blocks of the composition's ViT; the released file has one more."""
    beyond = () if depth is None else (f"visual_encoder.blocks.{depth}.{{rest:path}}",)
    return TensorNames(routes=ROUTES, unused=(*NOT_RUN, *beyond), buffers=BUFFERS, wrappers=("module.",))


def names_of(config: Mapping[str, Any]) -> TensorNames:
    """Return the table for a run's config."""
    return names(config["encoder"].get("num_hidden_layers"))
