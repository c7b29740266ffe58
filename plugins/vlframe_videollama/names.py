"""Official tensor names and ours.

Files of a single module are read under the name that the official model gives it: the ViT under ``visual_encoder``,
ImageBind under ``audio_encoder``, the language model under ``llama_model``.
"""

from collections.abc import Mapping
from typing import Any

from vlframe import Route, TensorNames

TRUNK = ("modality_preprocessors", "modality_trunks", "modality_heads")
VIT, IMAGEBIND, LLM = "visual_encoder.", "audio_encoder.", "llama_model."
POSITIONS = "{module}.bert.embeddings.position_ids"
BUFFERS = (
    POSITIONS,
    "llama_model.{rest:path}.rotary_emb.inv_freq",
    "audio_encoder.modality_postprocessors.{rest:path}",  # the vectors' lengths: encoders have them as a number
    "audio_encoder.modality_preprocessors.text.mask",
)


def qformer(theirs: str, part: str, ours: str) -> tuple[Route, ...]:
    """Return routes for a Q-Former without its text path."""
    layer, place = f"{theirs}.bert.encoder.layer.{{n:int}}", f"{ours}.encoder.layer.{{n:int}}"
    pairs = {
        "attention.self": "attention.attention",
        "attention.output": "attention.output",
        "crossattention.self": "crossattention.attention",
        "crossattention.output": "crossattention.output",
        "intermediate_query": "intermediate_query",
        "output_query": "output_query",
    }
    return (
        Route(f"{theirs}.bert.embeddings.LayerNorm.{{rest:path}}", part, f"{ours}.layernorm.{{rest:path}}"),
        *(Route(f"{layer}.{a}.{{rest:path}}", part, f"{place}.{b}.{{rest:path}}") for a, b in pairs.items()),
    )


def visual(part: str) -> tuple[Route, ...]:
    return (
        Route("visual_encoder.{rest:path}", "encoder", "visual_encoder.{rest:path}"),
        Route("ln_vision.{rest:path}", "encoder", "ln_vision.{rest:path}"),
        Route("query_tokens", part, "query_tokens"),
        *qformer("Qformer", part, "qformer"),
        Route("video_query_tokens", part, "video_query_tokens"),
        Route("video_frame_position_embedding.{rest:path}", part, "frame_position.{rest:path}"),
        *qformer("video_Qformer", part, "video_qformer"),
        Route("llama_proj.{rest:path}", part, "projection.{rest:path}"),
    )


def audio(part: str) -> tuple[Route, ...]:
    return (
        Route("audio_query_tokens", part, "query_tokens"),
        Route("audio_position_embedding.{rest:path}", part, "step_position.{rest:path}"),
        *qformer("audio_Qformer", part, "qformer"),
        Route("audio_llama_proj.{rest:path}", part, "projection.{rest:path}"),
    )


def trunk(modality: str, part: str) -> tuple[Route, ...]:
    """Return routes for one of ImageBind's trunks."""
    return tuple(
        Route(f"audio_encoder.{group}.{modality}.{{rest:path}}", part, f"{group}.{modality}.{{rest:path}}")
        for group in TRUNK
    )


NOT_RUN = (  # other tensors in the files: BLIP-2's own projections and its text path
    "t5_proj.{rest:path}",
    "opt_proj.{rest:path}",
    "Qformer.cls.{rest:path}",
    "Qformer.bert.embeddings.word_embeddings.{rest:path}",
    "Qformer.bert.embeddings.position_embeddings.{rest:path}",
    "Qformer.bert.encoder.layer.{n:int}.intermediate.{rest:path}",
    "Qformer.bert.encoder.layer.{n:int}.output.{rest:path}",
)


def names(depth: int | None, *, through_vision: bool) -> TensorNames:
    """Return the table of a composition. ``depth``: blocks of its ViT. ``through_vision``: audio branch on frames."""
    if through_vision:
        routes = (*audio("connector"), *trunk("vision", "encoder"))
    else:
        routes = (*visual("connector"), *audio("audio_connector"), *trunk("audio", "audio_encoder"))
    others = ["text", "depth", "thermal", "imu", "audio" if through_vision else "vision"]
    beyond = [f"audio_encoder.{group}.{modality}.{{rest:path}}" for group in TRUNK for modality in others]
    beyond += [f"visual_encoder.{name}.{{rest:path}}" for name in ("norm", "fc_norm", "head")]
    beyond += [] if depth is None else [f"visual_encoder.blocks.{depth}.{{rest:path}}"]  # the released ViT's last
    return TensorNames(
        routes=(*routes, Route("llama_model.{rest:path}", "llm", "lm.{rest:path}")),
        unused=(*NOT_RUN, *beyond),
        buffers=BUFFERS,
        wrappers=("module.",),
    )


def names_of(config: Mapping[str, Any]) -> TensorNames:
    """Return the table for a run's config."""
    encoder = config["encoder"]
    return names(encoder.get("num_hidden_layers"), through_vision=encoder["name"] == "imagebind_vision")
